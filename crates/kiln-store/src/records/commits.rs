//! The steps around READY that a crash may separate.

use async_trait::async_trait;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::rows::{KnownImage, NewImage};
use crate::scope::Scope;

/// What is pushed and tagged, as far as that is known.
#[async_trait]
pub trait Commits: Send + Sync {
    /// Keeps with a build what it is about to push; its next claim tells it. False when the fence is
    /// stale or the build over.
    async fn note_pushed(&self, id: &str, fence: i64, image: &NewImage)
    -> Result<bool, StoreError>;

    /// The tags of an image are set.
    async fn mark_tagged(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
    ) -> Result<(), StoreError>;

    /// Images whose tags were not set yet, oldest first; not those that the registry has lost, nor
    /// those that were found there.
    async fn untagged_images(&self, limit: u32) -> Result<Vec<KnownImage>, StoreError>;
}
