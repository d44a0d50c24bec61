//! Locks and images of definitions.

use async_trait::async_trait;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::rows::{FoundImage, ImageRow};
use crate::scope::Scope;

/// Locks, and the images made from them.
#[async_trait]
pub trait Images: Send + Sync {
    /// Keeps a lock and makes it the definition's, and the build's where there is one, by id and
    /// fence. False when that fence is stale or the build over: nothing was changed.
    async fn put_lock(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        build: Option<(&str, i64)>,
        lock_hash: &str,
        json: &str,
    ) -> Result<bool, StoreError>;

    /// The lock of a definition: of its current image, else the latest that was made for it.
    async fn lock_of(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
    ) -> Result<Option<String>, StoreError>;

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

    /// The registry has lost an image: it is current and known by its key no more.
    async fn mark_image_lost(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError>;

    /// Facts about a base, by its platform manifest's digest, as JSON.
    async fn base_facts(&self, digest: &str) -> Result<Option<String>, StoreError>;

    /// Keeps facts about a base.
    async fn put_base_facts(&self, digest: &str, json: &str) -> Result<(), StoreError>;
}
