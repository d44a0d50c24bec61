//! Clients and images the tests share.

use std::sync::Arc;
use std::time::Duration;

use kiln_oci::{
    Descriptor, DescriptorPlatform, ImageConfig, ImageIndex, ImageManifest, Platform, media_type,
};
use kiln_registry::{
    CredentialSource, RegistryClient, RegistryClientBuilder, RetryBudget, Timeouts,
};

use crate::fake::Fake;

/// Six attempts with pauses of milliseconds.
pub(crate) fn quick() -> RetryBudget {
    RetryBudget {
        total: Duration::from_secs(20),
        attempts: 6,
        base_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(4),
        ..RetryBudget::default()
    }
}

pub(crate) fn builder() -> RegistryClientBuilder {
    let second = Duration::from_secs(10);
    let timeouts = Timeouts {
        connect: second,
        idle: second,
        commit: second,
        longest_pause: second,
    };
    RegistryClient::builder().retry(quick()).timeouts(timeouts)
}

pub(crate) fn client() -> RegistryClient {
    builder().build().unwrap()
}

pub(crate) fn client_as(source: impl CredentialSource + 'static) -> RegistryClient {
    builder().credentials(Arc::new(source)).build().unwrap()
}

/// Bytes that do not repeat.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image of one layer: (configuration, manifest).
pub(crate) fn image(platform: &Platform, layer: &Descriptor) -> (Vec<u8>, ImageManifest) {
    let mut config = ImageConfig::new(platform);
    config.config.env = vec!["PATH=/usr/bin".into()];
    config.rootfs.diff_ids.push(layer.digest);
    let config = config.to_bytes();
    let manifest = ImageManifest::new(
        Descriptor::of(media_type::OCI_CONFIG, &config),
        vec![layer.clone()],
    );
    (config, manifest)
}

/// Puts an image of one layer into a fake; returns the manifest's descriptor.
pub(crate) fn put_image(fake: &Fake, repo: &str, tag: &str, platform: &str) -> Descriptor {
    let platform: Platform = platform.parse().unwrap();
    let layer = Descriptor::of(media_type::OCI_LAYER_GZIP, b"layer");
    fake.put_blob(repo, b"layer");
    let (config, manifest) = image(&platform, &layer);
    fake.put_blob(repo, &config);
    let mut descriptor =
        fake.put_manifest(repo, tag, media_type::OCI_MANIFEST, &manifest.to_bytes());
    descriptor.platform = Some(DescriptorPlatform::from(&platform));
    descriptor
}

/// Puts an index of manifests into a fake.
pub(crate) fn put_index(
    fake: &Fake,
    repo: &str,
    tag: &str,
    entries: Vec<Descriptor>,
) -> Descriptor {
    let bytes = ImageIndex::new(entries).to_bytes();
    fake.put_manifest(repo, tag, media_type::OCI_INDEX, &bytes)
}
