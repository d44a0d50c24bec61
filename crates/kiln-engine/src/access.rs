//! What a workspace may use: its credentials, and a registry client that has them.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_api::{Failure, FailureClass};
use kiln_oci::{Digest, Reference};
use kiln_registry::{
    Chain, CredentialError, CredentialSource, Credentials as Login, RegistryClient,
    StaticCredentials,
};
use kiln_resolve::{Credential, Credentials};
use kiln_spec::{CredentialTarget, InlineCredential};
use kiln_store::{Scope, StoreError};

use crate::backend::PullSecret;
use crate::engine::Inner;
use crate::error::of_store;
use crate::redact::Redactor;
use crate::uploads::Uploads;

/// Makes a registry client that asks this source for credentials.
pub type ConnectRegistry = Arc<dyn Fn(Arc<dyn CredentialSource>) -> RegistryClient + Send + Sync>;

/// What a workspace may use.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) registry: RegistryClient,
    /// Of channels, indexes and archives.
    pub(crate) credentials: Credentials,
    pub(crate) redactor: Redactor,
    /// Whether the workspace has credentials of its own: what it makes may have what others can't read.
    own: bool,
    logins: Arc<dyn CredentialSource>,
}

/// A source that knows nothing.
#[derive(Debug)]
pub struct NoCredentials;

#[async_trait]
impl CredentialSource for NoCredentials {
    async fn credentials(&self, _host: &str) -> Result<Option<Login>, CredentialError> {
        Ok(None)
    }
}

impl Inner {
    /// The access of a workspace, read once and anew when its credentials change.
    pub(crate) async fn access(&self, scope: &Scope) -> Result<Arc<Access>, StoreError> {
        if let Some(access) = self.accesses.get(scope) {
            return Ok(Arc::clone(&access));
        }
        let stored = self.store.records().credentials(scope).await?;
        let mut logins = StaticCredentials::new();
        for credential in &stored {
            if let CredentialTarget::Registry(host) = &credential.target {
                let user = credential.username.as_deref().unwrap_or_default();
                logins = logins.with(host, Login::basic(user, credential.secret.expose()));
            }
        }
        let logins: Arc<dyn CredentialSource> = Arc::new(Chain::new(vec![
            Arc::new(logins),
            Arc::clone(&self.operator_logins),
        ]));
        let journal = Arc::new(Uploads::new(self.store.data().uploads(), scope));
        let access = Arc::new(Access {
            registry: (self.connect_registry)(Arc::clone(&logins)).with_journal(journal),
            credentials: Credentials::new(
                stored.iter().filter_map(Credential::of_inline).collect(),
            ),
            redactor: Redactor::new(stored.iter().map(|credential| credential.secret.expose())),
            own: !stored.is_empty(),
            logins,
        });
        self.accesses.insert(scope.clone(), Arc::clone(&access));
        Ok(access)
    }

    /// Keeps credentials that stood in a document. Where one is new, what failed for want of it may be
    /// tried again.
    pub(crate) async fn keep_credentials(
        &self,
        scope: &Scope,
        credentials: &[InlineCredential],
    ) -> Result<(), StoreError> {
        let records = self.store.records();
        let mut changed = false;
        for credential in credentials {
            changed |= records.put_inline_credential(scope, credential).await?;
        }
        if changed {
            self.accesses.remove(scope);
            // Some hosts say of what one may not read that it is not there.
            for class in [FailureClass::Auth, FailureClass::NotFound] {
                records.forget_failures_of(scope, class.as_str()).await?;
            }
        }
        Ok(())
    }

    /// The access of a workspace, for a build.
    pub(crate) async fn build_access(&self, scope: &Scope) -> Result<Arc<Access>, Failure> {
        self.access(scope).await.map_err(|error| of_store(&error))
    }
}

/// The label of an image that may have what only one workspace can read: the digest of its name.
pub(crate) const SCOPE_LABEL: &str = "io.kiln.scope";

/// The value of [`SCOPE_LABEL`].
pub(crate) fn scope_digest(scope: &Scope) -> String {
    Digest::of(scope.as_str().as_bytes()).to_hex()
}

impl Access {
    /// The label by which other workspaces know that an image is not theirs; none where all is that went
    /// into it.
    pub(crate) fn scope_label(&self, scope: &Scope, has_private: bool) -> Option<(String, String)> {
        (self.own || has_private).then(|| (SCOPE_LABEL.to_owned(), scope_digest(scope)))
    }

    /// The login for an image's registry, for an engine that pulls it itself.
    pub(crate) async fn pull_credentials(
        &self,
        image: Option<&Reference>,
    ) -> Vec<(String, String, PullSecret)> {
        let Some(image) = image else {
            return Vec::new();
        };
        match self.logins.credentials(image.registry()).await {
            Ok(Some(Login::Basic { username, password })) => {
                let host = image.registry().to_owned();
                vec![(host, username, PullSecret::new(password.expose()))]
            }
            Ok(_) => Vec::new(),
            Err(error) => {
                tracing::warn!(%error, "a login could not be read");
                Vec::new()
            }
        }
    }
}
