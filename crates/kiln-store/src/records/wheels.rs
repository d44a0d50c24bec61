//! Private wheels of workspaces.

use async_trait::async_trait;
use kiln_oci::Digest;

use crate::error::StoreError;
use crate::rows::{KeptWheel, NewWheel, WheelRow};
use crate::scope::Scope;

/// Private wheels of workspaces. The bytes under a file name never change, and are held for ever.
#[async_trait]
pub trait Wheels: Send + Sync {
    /// Keeps a wheel; an address that it gets with the same bytes again takes the place of the first.
    async fn keep_wheel(&self, scope: &Scope, new: &NewWheel) -> Result<KeptWheel, StoreError>;

    /// The wheel of a file name.
    async fn wheel(&self, scope: &Scope, file_name: &str) -> Result<Option<WheelRow>, StoreError>;

    /// A wheel with these bytes.
    async fn wheel_by_digest(
        &self,
        scope: &Scope,
        digest: &Digest,
    ) -> Result<Option<WheelRow>, StoreError>;

    /// The wheel that its uploader knows under an address.
    async fn wheel_by_url(&self, scope: &Scope, url: &str) -> Result<Option<WheelRow>, StoreError>;

    /// Wheels by file name, beginning after one.
    async fn wheels(
        &self,
        scope: &Scope,
        after: &str,
        limit: u32,
    ) -> Result<Vec<WheelRow>, StoreError>;

    /// Whether one of these is a private wheel of the workspace.
    async fn has_wheel_of(&self, scope: &Scope, digests: &[Digest]) -> Result<bool, StoreError>;
}
