//! Failures that asking again would only repeat.

use async_trait::async_trait;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::rows::RememberedFailure;
use crate::scope::Scope;

/// Remembered failures, by definition and settings.
#[async_trait]
pub trait Failures: Send + Sync {
    /// The failure that is remembered for a definition under these settings, or under any: a build
    /// that crashed kiln is kept from it whatever the settings.
    async fn remembered_failure(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        settings: &str,
    ) -> Result<Option<RememberedFailure>, StoreError>;

    /// Forgets all of a definition's.
    async fn forget_failure(&self, scope: &Scope, spec_hash: &SpecHash) -> Result<(), StoreError>;

    /// Forgets all of a class in a workspace, and answers how many: what caused them is mended.
    async fn forget_failures_of(&self, scope: &Scope, class: &str) -> Result<u64, StoreError>;
}
