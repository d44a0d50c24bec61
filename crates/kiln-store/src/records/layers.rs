//! Layers of packages, each made once.

use async_trait::async_trait;
use kiln_oci::Digest;

use crate::error::StoreError;
use crate::rows::LayerRow;

/// Layers by key, and where registries have them. Keys are hashes over all that decides a layer's bytes, an archive's
/// digest among it; so they are no workspace's own.
#[async_trait]
pub trait Layers: Send + Sync {
    /// Those of these keys that were made.
    async fn layers(&self, keys: &[String]) -> Result<Vec<LayerRow>, StoreError>;

    /// Keeps a layer, in place of what the key had.
    async fn keep_layer(&self, row: &LayerRow) -> Result<(), StoreError>;

    /// Forgets the layers of a digest, whose blob is damaged.
    async fn drop_layer(&self, digest: &Digest) -> Result<(), StoreError>;

    /// A repository of a registry for each of these layers that one is known to have.
    async fn layer_places(
        &self,
        registry: &str,
        digests: &[Digest],
    ) -> Result<Vec<(Digest, String)>, StoreError>;

    /// A repository has these layers.
    async fn note_layers(
        &self,
        registry: &str,
        repository: &str,
        digests: &[Digest],
    ) -> Result<(), StoreError>;
}
