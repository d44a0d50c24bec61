//! Images of definitions.

use std::time::Duration;

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::rows::{BaseName, FoundImage, ImageRow, KnownImage};
use crate::scope::Scope;

/// Images and their generations.
#[async_trait]
pub trait Images: Send + Sync {
    /// The current image of a definition, unless the registry has lost it.
    async fn current_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<ImageRow>, StoreError>;

    /// The image of a key, unless the registry has lost it.
    async fn image_by_key(
        &self,
        scope: &Scope,
        image_key: &str,
    ) -> Result<Option<ImageRow>, StoreError>;

    /// Takes an image that another kiln pushed as the current one of its definition. One that is
    /// known keeps its generation; where another image has the generation, it gets the next.
    async fn adopt_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        found: &FoundImage,
    ) -> Result<ImageRow, StoreError>;

    /// The registry has lost an image: it is current and known by its key no more, and its workspace's
    /// hooks are told that it is outdated. False when that was known.
    async fn mark_image_lost(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<bool, StoreError>;

    /// The registry has an image, now.
    async fn mark_image_verified(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError>;

    /// A build would make another image today: noted and told, once; false when it was noted before.
    /// It stays current.
    async fn mark_image_outdated(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
        reason: &str,
    ) -> Result<bool, StoreError>;

    /// Current images, not lost, that were built on a base, over all workspaces, in a stable order;
    /// `after` is the last of the page before.
    async fn images_on_base(
        &self,
        base: &BaseName,
        limit: u32,
        after: Option<&KnownImage>,
    ) -> Result<Vec<KnownImage>, StoreError>;

    /// Images of any generation with this manifest in this repository that are not known to be lost.
    async fn images_at(
        &self,
        repository: &str,
        digest: &Digest,
    ) -> Result<Vec<KnownImage>, StoreError>;

    /// A definition's canonical JSON.
    async fn canonical(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<String>, StoreError>;

    /// Current images, not lost, that were verified at least this long ago, the longest first, over
    /// all workspaces; `after` is the last of the page before.
    async fn images_to_verify(
        &self,
        ago: Duration,
        limit: u32,
        after: Option<&KnownImage>,
    ) -> Result<Vec<KnownImage>, StoreError>;
}
