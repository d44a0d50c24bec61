//! The records of kiln, whatever keeps them.

use std::time::Duration;

use async_trait::async_trait;
use kiln_spec::{CredentialTarget, InlineCredential, SpecHash};

use crate::error::StoreError;
use crate::rows::{
    BuildRow, CredentialRow, Finish, FoundImage, ImageRow, NewBuild, NewImage, RememberedFailure,
    Started,
};
use crate::scope::Scope;

/// The records of kiln. What a call has answered is durable.
#[async_trait]
pub trait Records: Send + Sync {
    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Writes the row of a build, or answers the active one of the same definition.
    async fn begin_build(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        new: &NewBuild,
    ) -> Result<Started, StoreError>;

    /// The build of an id.
    async fn build(&self, id: &str) -> Result<Option<BuildRow>, StoreError>;

    /// Builds of a workspace, newest first; `before` is an id.
    async fn list_builds(
        &self,
        scope: &Scope,
        limit: u32,
        before: Option<&str>,
    ) -> Result<Vec<BuildRow>, StoreError>;

    /// Builds that are not over, oldest first, and their definitions' canonical JSON.
    async fn unfinished_builds(&self) -> Result<Vec<(BuildRow, String)>, StoreError>;

    /// Takes a build over: it is QUEUED again with a greater fence, which is answered.
    async fn take_over(&self, id: &str) -> Result<Option<BuildRow>, StoreError>;

    /// Moves a build on to another state that is not final, or to the same again; false when the
    /// fence is stale, the build is over or the state lies behind it.
    async fn advance(&self, id: &str, fence: i64, state: &str) -> Result<bool, StoreError>;

    /// Keeps a lock and makes it the definition's, and the build's where there is one.
    async fn put_lock(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        canonical: &str,
        build_id: Option<&str>,
        lock_hash: &str,
        json: &str,
    ) -> Result<(), StoreError>;

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

    /// Makes a build READY: image, generation and the definition's current one in one transaction.
    async fn finish_ready(
        &self,
        id: &str,
        fence: i64,
        image: &NewImage,
    ) -> Result<Finish, StoreError>;

    /// Makes a build FAILED or CANCELLED; `remember` is the key of the settings, and how long.
    async fn finish_failed(
        &self,
        id: &str,
        fence: i64,
        state: &str,
        failure_json: &str,
        remember: Option<(String, Duration)>,
    ) -> Result<bool, StoreError>;

    /// The failure that is remembered for a definition under these settings.
    async fn remembered_failure(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        settings: &str,
    ) -> Result<Option<RememberedFailure>, StoreError>;

    /// Forgets it.
    async fn forget_failure(&self, scope: &Scope, spec_hash: &SpecHash) -> Result<(), StoreError>;

    /// Facts about a base, by its platform manifest's digest, as JSON.
    async fn base_facts(&self, digest: &str) -> Result<Option<String>, StoreError>;

    /// Keeps facts about a base.
    async fn put_base_facts(&self, digest: &str, json: &str) -> Result<(), StoreError>;

    /// Keeps a credential that stood in a document, encrypted.
    async fn put_inline_credential(
        &self,
        scope: &Scope,
        credential: &InlineCredential,
    ) -> Result<(), StoreError>;

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
