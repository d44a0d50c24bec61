//! The image into its registry: layers of the base by mount or copy, new ones compressed and uploaded,
//! the configuration and the manifest last, by digest.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use kiln_api::Failure;
use kiln_engine::{BuildJob, Built, Reporter, Step, Unit};
use kiln_oci::{Descriptor, Digest, ImageConfig, ImageManifest, Reference, media_type};
use kiln_registry::{
    BlobPush, BlobSource, RegistryClient, RegistryError, RemoteBlob, ResolvedImage,
};

use crate::compress;
use crate::export::{Exported, Layer};

/// Blobs that are on their way at once.
const PUSHES: usize = 4;
/// `created` of an image: nothing from the clock is in it.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// The label that marks an image as one of a build; it does not leave the engine.
pub(crate) const BUILD_LABEL: &str = "io.kiln.build";

/// Pushes an image by digest.
pub(crate) async fn image(
    exported: Exported,
    job: &BuildJob,
    reporter: &Arc<dyn Reporter>,
) -> Result<Built, Failure> {
    let base = base_layers(job.base.as_ref());
    let mut pushes = Vec::with_capacity(exported.layers.len());
    for layer in exported.layers {
        pushes.push(layer_push(layer, &base, job).await?);
    }
    let layers: Vec<Descriptor> = pushes
        .iter()
        .map(|(descriptor, _)| descriptor.clone())
        .collect();
    let uploads = futures::stream::iter(pushes).map(|(descriptor, push)| {
        let push = push.progress(progress(Arc::clone(reporter), &descriptor));
        upload(&job.registry, &job.repository, push)
    });
    uploads
        .buffer_unordered(PUSHES)
        .try_collect::<Vec<()>>()
        .await
        .map_err(|e| failure(&e))?;
    let config = config(exported.config, &job.labels).to_bytes();
    let descriptor = Descriptor::of(media_type::OCI_CONFIG, &config);
    let push = BlobPush::new(descriptor.clone(), config);
    upload(&job.registry, &job.repository, push)
        .await
        .map_err(|error| failure(&error))?;
    let manifest = ImageManifest::new(descriptor, layers);
    let bytes = manifest.to_bytes();
    let digest = Digest::of(&bytes);
    let built = Built {
        digest,
        size_bytes: manifest.blob_size(),
    };
    job.before_manifest.note(&built).await?;
    job.registry
        .push_manifest(
            &job.repository.with_digest(digest),
            bytes.into(),
            media_type::OCI_MANIFEST,
        )
        .await
        .map_err(|error| failure(&error))?;
    Ok(built)
}

async fn upload(
    registry: &RegistryClient,
    repository: &Reference,
    push: BlobPush,
) -> Result<(), RegistryError> {
    registry.push_blob(repository, push).await.map(drop)
}

fn failure(error: &RegistryError) -> Failure {
    kiln_engine::failure::of_registry(error)
}

/// The base's layers by diff id.
fn base_layers(base: Option<&ResolvedImage>) -> BTreeMap<Digest, (Descriptor, Reference)> {
    let Some(base) = base else {
        return BTreeMap::new();
    };
    let layers = base
        .config
        .rootfs
        .diff_ids
        .iter()
        .zip(&base.manifest.layers);
    layers
        .filter(|(_, layer)| media_type::layer_compression(&layer.media_type).is_some())
        .map(|(diff_id, layer)| (*diff_id, (layer.clone(), base.reference.clone())))
        .collect()
}

/// Diff ids that need not be read from the engine.
pub(crate) fn known_layers(base: Option<&ResolvedImage>) -> std::collections::HashSet<Digest> {
    base_layers(base).into_keys().collect()
}

async fn layer_push(
    layer: Layer,
    base: &BTreeMap<Digest, (Descriptor, Reference)>,
    job: &BuildJob,
) -> Result<(Descriptor, BlobPush), Failure> {
    if let Some(tar) = layer.tar {
        let (descriptor, packed) = compressed(tar)
            .await
            .map_err(|error| kiln_engine::failure::of_io("kiln's work folder", &error))?;
        return Ok((descriptor.clone(), BlobPush::new(descriptor, packed)));
    }
    let Some((descriptor, from)) = base.get(&layer.diff_id) else {
        return Err(crate::read_back::failure(&[format!(
            "the layer {} is gone",
            layer.diff_id
        )]));
    };
    // The bytes are the same by either name; one kind of manifest has one kind of names.
    let media_type = match media_type::layer_compression(&descriptor.media_type) {
        Some(media_type::Compression::Zstd) => media_type::OCI_LAYER_ZSTD,
        Some(media_type::Compression::Gzip) => media_type::OCI_LAYER_GZIP,
        _ => media_type::OCI_LAYER,
    };
    let copied = Descriptor::new(media_type, descriptor.digest, descriptor.size);
    let source = RemoteBlob::new(job.registry.clone(), from.clone(), descriptor.clone());
    let push = BlobPush::new(copied.clone(), BlobSource::Other(Arc::new(source)));
    let push = if from.registry() == job.repository.registry() {
        push.mount_from(from.repository().clone())
    } else {
        push
    };
    Ok((copied, push))
}

async fn compressed(tar: PathBuf) -> io::Result<(Descriptor, PathBuf)> {
    let work = tokio::task::spawn_blocking(move || {
        let packed = tar.with_extension("tar.gz");
        let layer = compress::file(&tar, &packed)?;
        fs_err::remove_file(&tar)?;
        Ok((
            Descriptor::new(media_type::OCI_LAYER_GZIP, layer.digest, layer.size),
            packed,
        ))
    });
    work.await.map_err(io::Error::other)?
}

fn progress(
    reporter: Arc<dyn Reporter>,
    descriptor: &Descriptor,
) -> impl Fn(u64) + Send + Sync + 'static {
    let (total, name) = (
        descriptor.size,
        format!("push {}", &descriptor.digest.to_hex()[..12]),
    );
    move |done| {
        reporter.step(Step {
            name: name.clone(),
            done,
            total: Some(total),
            unit: Unit::Bytes,
            finished: done >= total,
        });
    }
}

/// The image's configuration: kiln's labels, and no time of this build.
fn config(mut config: ImageConfig, labels: &BTreeMap<String, String>) -> ImageConfig {
    config.created = Some(CREATED.to_owned());
    for entry in &mut config.history {
        entry.created = Some(CREATED.to_owned());
    }
    config.config.labels.remove(BUILD_LABEL);
    config.config.labels.extend(
        labels
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    config
}
