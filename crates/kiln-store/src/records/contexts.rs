//! Build contexts of workspaces.

use async_trait::async_trait;
use kiln_oci::Digest;

use crate::error::StoreError;
use crate::rows::{ContextRow, NewContext};
use crate::scope::Scope;

/// Build contexts of workspaces, each named by its bytes and held for ever.
#[async_trait]
pub trait Contexts: Send + Sync {
    /// Keeps a context; the first to keep it is who its row names. Tells whether it is new.
    async fn keep_context(
        &self,
        scope: &Scope,
        new: &NewContext,
    ) -> Result<(ContextRow, bool), StoreError>;

    /// The context of a digest.
    async fn context(
        &self,
        scope: &Scope,
        digest: &Digest,
    ) -> Result<Option<ContextRow>, StoreError>;
}
