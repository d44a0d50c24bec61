//! Credentials, sealed.

use async_trait::async_trait;
use kiln_spec::{CredentialTarget, InlineCredential};

use crate::error::StoreError;
use crate::rows::CredentialRow;
use crate::scope::Scope;

/// Credentials that stood in documents.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// Keeps a credential that stood in a document, encrypted; false where the same is kept already.
    async fn put_inline_credential(
        &self,
        scope: &Scope,
        credential: &InlineCredential,
    ) -> Result<bool, StoreError>;

    /// All credentials of a workspace, decrypted.
    async fn credentials(&self, scope: &Scope) -> Result<Vec<InlineCredential>, StoreError>;

    /// The credentials of a workspace for exactly this host or address and this use.
    async fn credentials_for(
        &self,
        scope: &Scope,
        target: &CredentialTarget,
    ) -> Result<Vec<InlineCredential>, StoreError> {
        let mut found = self.credentials(scope).await?;
        found.retain(|credential| credential.target == *target);
        Ok(found)
    }

    /// What credentials a workspace has; not the secrets.
    async fn list_credentials(&self, scope: &Scope) -> Result<Vec<CredentialRow>, StoreError>;

    /// Removes the credentials of a host or address and a use; false when there are none.
    async fn delete_credentials(
        &self,
        scope: &Scope,
        target: &CredentialTarget,
    ) -> Result<bool, StoreError>;
}
