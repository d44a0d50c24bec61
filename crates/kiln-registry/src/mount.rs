//! Starting an upload, or getting a blob from another repository instead.

use std::fmt;

use http::{HeaderValue, Method, header};
use kiln_oci::{Digest, Reference, RepositoryName};
use tokio::time::Instant;
use url::Url;

use crate::client::{Exchange, RegistryClient};
use crate::error::{ErrorKind, Operation, RegistryError};
use crate::fault::Fault;
use crate::journal::Entry;
use crate::policy::same_origin;
use crate::scope::{Action, Scopes};
use crate::transport::{Answer, Request};

/// What a registry makes of the wish to mount a blob.
#[derive(Debug)]
pub enum MountOutcome {
    /// The blob is in the repository now.
    Mounted,
    /// It is not; an upload was started into which it can be sent.
    Upload(UploadSession),
}

/// An upload that was started and awaits its bytes.
pub struct UploadSession {
    /// Where the next request goes.
    pub(crate) location: Url,
    /// Where it is written down.
    pub(crate) entry: Option<Entry>,
}

impl fmt::Debug for UploadSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The location's query may hold the upload's state and signature.
        f.debug_struct("UploadSession")
            .field("host", &self.location.host_str())
            .finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// Mounts a blob of another repository of the same registry, or starts an upload where the registry
    /// does not mount it or `from` is `None`. A token is asked for with the right to read `from` too.
    pub async fn mount_or_begin(
        &self,
        to: &Reference,
        from: Option<&RepositoryName>,
        digest: &Digest,
    ) -> Result<MountOutcome, RegistryError> {
        let exchange = push_exchange(self, to, Operation::MountBlob, digest, from);
        exchange.mount_or_begin(from, digest).await
    }
}

/// The exchange of one blob's push: its token is good for each step, mounting included.
pub(crate) fn push_exchange(
    client: &RegistryClient,
    to: &Reference,
    operation: Operation,
    digest: &Digest,
    from: Option<&RepositoryName>,
) -> Exchange {
    let mut scopes = Scopes::push(to.repository());
    if let Some(from) = from {
        scopes = scopes.and(from, [Action::Pull]);
    }
    Exchange::new(client, to, operation, Some(digest.to_string()), scopes)
}

impl Exchange {
    pub(crate) async fn mount_or_begin(
        &self,
        from: Option<&RepositoryName>,
        digest: &Digest,
    ) -> Result<MountOutcome, RegistryError> {
        if let Some(from) = from.filter(|from| *from != self.reference.repository()) {
            match self
                .retrying(|deadline| self.mount_once(from, digest, deadline))
                .await
            {
                Ok(outcome) => return Ok(outcome),
                // A registry without mounts, or without the right to read there, still takes an upload.
                Err(error) if refuses_mount(&error) => {
                    tracing::debug!(error = %error, "blob is not mounted, it will be uploaded");
                }
                Err(error) => return Err(error),
            }
        }
        let plain = Self {
            scopes: Scopes::push(self.reference.repository()),
            ..self.clone()
        };
        let session = plain
            .retrying(|deadline| plain.begin_once(deadline))
            .await?;
        Ok(MountOutcome::Upload(session))
    }

    async fn mount_once(
        &self,
        from: &RepositoryName,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<MountOutcome, Fault> {
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut()
            .append_pair("mount", &digest.to_string())
            .append_pair("from", from.as_str());
        let answer = self.post(url, &[201, 202], deadline).await?;
        if answer.status == 202 {
            return self.begun(&answer).map(MountOutcome::Upload);
        }
        match answer.digest().filter(|actual| actual != digest) {
            Some(actual) => Err(Fault::Digest {
                expected: *digest,
                actual,
            }),
            None => Ok(MountOutcome::Mounted),
        }
    }

    /// Starts an upload.
    pub(crate) async fn begin_once(&self, deadline: Instant) -> Result<UploadSession, Fault> {
        let answer = self
            .post(self.url("blobs/uploads/")?, &[202], deadline)
            .await?;
        self.begun(&answer)
    }

    /// An upload that the registry has opened, written down.
    fn begun(&self, answer: &Answer) -> Result<UploadSession, Fault> {
        let location = self.location(answer)?;
        let journal = self.client.journal.as_ref();
        let entry = journal.map(|journal| Entry::open(journal, &self.reference, &location));
        Ok(UploadSession { location, entry })
    }

    async fn post(
        &self,
        url: Url,
        accept: &'static [u16],
        deadline: Instant,
    ) -> Result<Answer, Fault> {
        let mut request = Request::new(Method::POST, url, accept);
        request
            .headers
            .insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        self.send(&request, deadline).await
    }

    /// Reads where an upload goes on.
    pub(crate) fn location(&self, answer: &Answer) -> Result<Url, Fault> {
        let text = answer.header("location").filter(|text| !text.is_empty());
        let location = text.and_then(|text| answer.url.join(text).ok());
        let mut location =
            location.ok_or_else(|| Fault::Malformed("an upload without a Location".into()))?;
        let own = &answer.url;
        // Registries behind a proxy that ends TLS are known to name themselves by http.
        if own.scheme() == "https"
            && location.scheme() == "http"
            && location.host() == own.host()
            && (location.port().is_none() || location.port() == own.port())
        {
            let _ = location.set_scheme("https");
        }
        if !same_origin(own, &location) {
            self.transport().policy.check_target(own, &location)?;
        }
        Ok(location)
    }
}

fn refuses_mount(error: &RegistryError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Auth | ErrorKind::NotFound | ErrorKind::Invalid
    )
}
