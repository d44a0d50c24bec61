//! Pushing blobs, manifests and tags.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, header};
use kiln_oci::{Descriptor, Digest, Reference, RepositoryName, Tag};
use tokio::time::Instant;

use crate::MANIFEST_LIMIT;
use crate::client::{Exchange, RegistryClient};
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::manifest::Probe;
use crate::mount::{MountOutcome, UploadSession, push_exchange};
use crate::scope::Scopes;
use crate::source::BlobSource;
use crate::transport::{Body, Request};
use crate::upload::Progress;

/// A blob of at most so many bytes is sent without asking whether the registry has it.
const SMALL_BLOB: u64 = 16 << 10;

/// A blob that is to be in a repository.
#[derive(Clone)]
#[must_use]
pub struct BlobPush {
    descriptor: Descriptor,
    source: BlobSource,
    mount_from: Option<RepositoryName>,
    progress: Option<Progress>,
}

/// How a blob came into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pushed {
    /// It was there.
    Existing,
    /// It was mounted from another repository.
    Mounted,
    /// It was uploaded.
    Uploaded,
}

/// What may happen to a tag that names something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TagRule {
    /// It stays, and setting it is an error.
    Keep,
    /// It moves.
    Move,
}

impl BlobPush {
    /// A blob and where its bytes come from.
    pub fn new(descriptor: Descriptor, source: impl Into<BlobSource>) -> Self {
        Self {
            descriptor,
            source: source.into(),
            mount_from: None,
            progress: None,
        }
    }

    /// Names a repository of the same registry that may have the blob.
    pub fn mount_from(mut self, repository: RepositoryName) -> Self {
        self.mount_from = Some(repository);
        self
    }

    /// Is told how many bytes were sent; the number goes back when an upload has to start anew.
    pub fn progress(mut self, progress: impl Fn(u64) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(progress));
        self
    }
}

impl fmt::Debug for BlobPush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobPush")
            .field("descriptor", &self.descriptor)
            .field("source", &self.source)
            .field("mount_from", &self.mount_from)
            .finish_non_exhaustive()
    }
}

impl RegistryClient {
    /// Sees to it that a blob is in a repository: by what is there, by a mount, or by an upload.
    pub async fn push_blob(&self, to: &Reference, push: BlobPush) -> Result<Pushed, RegistryError> {
        let (digest, from) = (&push.descriptor.digest, push.mount_from.as_ref());
        let exchange = push_exchange(self, to, Operation::PushBlob, digest, from);
        let mut session = None;
        // A mount is one request, whether the blob is there or not.
        if from.is_some() {
            match exchange.mount_or_begin(from, digest).await? {
                MountOutcome::Mounted => return Ok(Pushed::Mounted),
                MountOutcome::Upload(begun) => session = Some(begun),
            }
        }
        // To ask costs as much as to send so little.
        if push.descriptor.size > SMALL_BLOB
            && exchange
                .retrying(|deadline| exchange.exists_once(digest, deadline))
                .await?
        {
            return Ok(Pushed::Existing);
        }
        self.upload(session, to, &push).await?;
        Ok(Pushed::Uploaded)
    }

    /// Uploads a blob into a session of [`RegistryClient::mount_or_begin`].
    pub async fn push_blob_into(
        &self,
        session: UploadSession,
        to: &Reference,
        push: BlobPush,
    ) -> Result<(), RegistryError> {
        self.upload(Some(session), to, &push).await
    }

    async fn upload(
        &self,
        session: Option<UploadSession>,
        to: &Reference,
        push: &BlobPush,
    ) -> Result<(), RegistryError> {
        let digest = &push.descriptor.digest;
        let exchange = push_exchange(self, to, Operation::PushBlob, digest, None);
        let progress = push.progress.as_ref();
        exchange
            .upload(&push.descriptor, &push.source, session, progress)
            .await
    }

    /// Pushes a manifest or an index under the reference's digest or tag, and asks the registry for it
    /// afterwards. Its blobs must be there.
    ///
    /// # Errors
    /// Also when the reference's digest is not that of the bytes, and when the registry does not have
    /// the manifest after taking it.
    pub async fn push_manifest(
        &self,
        to: &Reference,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<Digest, RegistryError> {
        self.put_manifest(Operation::PushManifest, to, bytes, media_type)
            .await
    }

    async fn put_manifest(
        &self,
        operation: Operation,
        to: &Reference,
        bytes: Bytes,
        media_type: &str,
    ) -> Result<Digest, RegistryError> {
        let scopes = Scopes::push(to.repository());
        let exchange = Exchange::new(self, to, operation, Some(to.identifier()), scopes);
        let actual = Digest::of(&bytes);
        if let Some(expected) = to.digest().filter(|expected| *expected != actual) {
            return Err(exchange.error(Fault::SourceDigest { expected, actual }));
        }
        if bytes.len() > MANIFEST_LIMIT {
            return Err(exchange.error(Fault::TooLarge {
                limit: MANIFEST_LIMIT as u64,
            }));
        }
        // Each step has a budget of its own: that one was answered is no reason to repeat it with the other.
        let mut attempts = exchange.attempts();
        loop {
            exchange
                .retrying(|deadline| exchange.put_once(bytes.clone(), media_type, actual, deadline))
                .await?;
            let pushed = to.with_digest(actual);
            let found = exchange
                .retrying(|deadline| exchange.probe_once(&pushed, deadline))
                .await?;
            match found {
                Some(_) => return Ok(actual),
                None => attempts.pause(exchange.error(Fault::Vanished)).await?,
            }
        }
    }

    /// Sets a tag on an image that is in the repository under its digest. A tag that names it already is
    /// left alone.
    ///
    /// # Errors
    /// Also when the tag names something else and the rule is [`TagRule::Keep`]. The rule is looked at
    /// before the tag is set; two callers with different images must not race.
    pub async fn put_tag(
        &self,
        image: &Reference,
        tag: &Tag,
        rule: TagRule,
    ) -> Result<(), RegistryError> {
        let to = image.with_tag(tag.clone());
        match self.probe(&to).await {
            Probe::Present { digest, .. } if Some(digest) == image.digest() => return Ok(()),
            Probe::Present { digest, .. } if rule == TagRule::Keep => {
                let scopes = Scopes::push(to.repository());
                let exchange =
                    Exchange::new(self, &to, Operation::Tag, Some(tag.to_string()), scopes);
                return Err(exchange.error(Fault::TagTaken {
                    tag: tag.to_string(),
                    digest,
                }));
            }
            Probe::Present { .. } | Probe::Absent => {}
            Probe::Unknown(error) => return Err(error),
        }
        let fetched = self.manifest(image).await?;
        self.put_manifest(Operation::Tag, &to, fetched.bytes, &fetched.media_type)
            .await?;
        Ok(())
    }

    /// Deletes a manifest by its digest, or a tag where the registry can. `false` is that it was not there.
    pub async fn delete_manifest(&self, image: &Reference) -> Result<bool, RegistryError> {
        let scopes = Scopes::delete(image.repository());
        let subject = Some(image.identifier());
        let exchange = Exchange::new(self, image, Operation::DeleteManifest, subject, scopes);
        exchange
            .retrying(|deadline| exchange.delete_once(deadline))
            .await
    }
}

impl Exchange {
    async fn put_once(
        &self,
        bytes: Bytes,
        media_type: &str,
        digest: Digest,
        deadline: Instant,
    ) -> Result<(), Fault> {
        let url = self.url(&format!("manifests/{}", self.reference.identifier()))?;
        let mut request = Request::new(Method::PUT, url, &[200, 201, 202]);
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| Fault::Malformed("the media type does not fit a header".into()))?;
        request.headers.insert(header::CONTENT_TYPE, kind);
        request.body = Some(Body::Bytes(bytes));
        let answer = self.send(&request, deadline).await?;
        match answer.digest().filter(|actual| *actual != digest) {
            Some(actual) => Err(Fault::Digest {
                expected: digest,
                actual,
            }),
            None => Ok(()),
        }
    }

    async fn delete_once(&self, deadline: Instant) -> Result<bool, Fault> {
        let url = self.url(&format!("manifests/{}", self.reference.identifier()))?;
        let request = Request::new(Method::DELETE, url, &[200, 202, 204, 404]);
        Ok(self.send(&request, deadline).await?.status != 404)
    }
}
