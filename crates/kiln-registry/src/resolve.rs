//! From a reference to the image of one platform.

use bytes::Bytes;
use kiln_oci::{
    Descriptor, Digest, ImageConfig, ImageIndex, ImageManifest, Manifest, Platform, Reference,
    media_type, select_platform,
};

use crate::MANIFEST_LIMIT;
use crate::client::{Exchange, RegistryClient};
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::scope::Scopes;

/// How deep indexes may be nested.
const DEPTH: usize = 2;

/// An image of one platform, with all that describes it and none of its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The image by the digest of its manifest.
    pub reference: Reference,
    /// The digest of the outermost index, where the reference led to one.
    pub index_digest: Option<Digest>,
    /// The digest of the manifest.
    pub manifest_digest: Digest,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The manifest's bytes.
    pub manifest_bytes: Bytes,
    /// The configuration.
    pub config: ImageConfig,
    /// The configuration's bytes.
    pub config_bytes: Bytes,
}

impl RegistryClient {
    /// Follows a reference to the manifest of a platform, through at most two indexes, and fetches the
    /// configuration. Everything is checked by digest and size.
    pub async fn resolve_platform(
        &self,
        image: &Reference,
        platform: &Platform,
    ) -> Result<ResolvedImage, RegistryError> {
        let exchange = Exchange::new(
            self,
            image,
            Operation::FetchManifest,
            Some(image.identifier()),
            Scopes::pull(image.repository()),
        );
        let mut fetched = self.manifest(image).await?;
        let mut index_digest = None;
        let mut depth = 0;
        let manifest = loop {
            match fetched.manifest {
                Manifest::Image(manifest) => break manifest,
                Manifest::Index(index) => {
                    depth += 1;
                    if depth > DEPTH {
                        return Err(exchange.error(Fault::Depth(DEPTH)));
                    }
                    index_digest.get_or_insert(fetched.digest);
                    let entry = entry(&index, platform).map_err(|f| exchange.error(f))?;
                    fetched = self.manifest(&image.with_digest(entry.digest)).await?;
                    check_size(entry, fetched.bytes.len()).map_err(|f| exchange.error(f))?;
                }
            }
        };
        check_kind(&manifest).map_err(|fault| exchange.error(fault))?;
        let config_bytes = self.config_bytes(image, &manifest.config).await?;
        let config = read_config(&manifest, &config_bytes, platform)
            .map_err(|fault| exchange.error(fault))?;
        Ok(ResolvedImage {
            reference: image.with_digest(fetched.digest),
            index_digest,
            manifest_digest: fetched.digest,
            manifest,
            manifest_bytes: fetched.bytes,
            config,
            config_bytes,
        })
    }

    async fn config_bytes(
        &self,
        image: &Reference,
        config: &Descriptor,
    ) -> Result<Bytes, RegistryError> {
        self.fetch_bytes(Operation::FetchConfig, image, config, MANIFEST_LIMIT as u64)
            .await
    }
}

/// The index's entry for a platform; its size must be one a manifest can have.
fn entry<'i>(index: &'i ImageIndex, platform: &Platform) -> Result<&'i Descriptor, Fault> {
    let entry = select_platform(index, platform).map_err(Fault::Platform)?;
    if entry.size > MANIFEST_LIMIT as u64 {
        return Err(Fault::TooLarge {
            limit: MANIFEST_LIMIT as u64,
        });
    }
    Ok(entry)
}

fn check_size(entry: &Descriptor, actual: usize) -> Result<(), Fault> {
    let (expected, actual) = (entry.size, actual as u64);
    if expected == actual {
        Ok(())
    } else {
        Err(Fault::Size { expected, actual })
    }
}

/// Refuses artifacts that are no images, such as charts and signatures.
fn check_kind(manifest: &ImageManifest) -> Result<(), Fault> {
    match manifest.config.media_type.as_str() {
        media_type::OCI_CONFIG | media_type::DOCKER_CONFIG => Ok(()),
        other => Err(Fault::NotAnImage(other.chars().take(128).collect())),
    }
}

/// Parses the configuration and compares it with the manifest and the platform that was asked for.
fn read_config(
    manifest: &ImageManifest,
    bytes: &[u8],
    wanted: &Platform,
) -> Result<ImageConfig, Fault> {
    let config = ImageConfig::parse(bytes).map_err(Fault::Config)?;
    let found = config.platform();
    if found.os() != wanted.os() || found.architecture() != wanted.architecture() {
        return Err(Fault::WrongPlatform {
            wanted: Box::new(wanted.clone()),
            found: Box::new(found),
        });
    }
    if config.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Fault::Malformed(format!(
            "the manifest has {} layers, the configuration {}",
            manifest.layers.len(),
            config.rootfs.diff_ids.len()
        )));
    }
    Ok(config)
}
