//! What definitions resolved to.

use async_trait::async_trait;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::scope::Scope;

/// Locks, and facts about bases.
#[async_trait]
pub trait Locks: Send + Sync {
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

    /// Facts about a base, by its platform manifest's digest, as JSON.
    async fn base_facts(&self, digest: &str) -> Result<Option<String>, StoreError>;

    /// Keeps facts about a base.
    async fn put_base_facts(&self, digest: &str, json: &str) -> Result<(), StoreError>;
}
