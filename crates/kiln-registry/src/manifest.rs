//! Probing for manifests and fetching them.

use bytes::Bytes;
use http::Method;
use kiln_oci::{Digest, Manifest, Reference};
use tokio::time::Instant;

use crate::MANIFEST_LIMIT;
use crate::client::{Exchange, RegistryClient, accept_manifests};
use crate::error::{Operation, RegistryError};
use crate::fault::Fault;
use crate::scope::Scopes;
use crate::transport::Request;

/// Whether an image is in a registry, in three answers.
#[derive(Debug)]
pub enum Probe {
    /// It is there.
    Present {
        /// The digest of its manifest or index.
        digest: Digest,
        /// The media type of its manifest or index.
        media_type: String,
        /// The size of its manifest or index in bytes.
        size: u64,
    },
    /// The registry itself says that it is not there.
    Absent,
    /// The registry did not say; it must be taken for neither.
    Unknown(RegistryError),
}

/// A manifest with the bytes it was parsed from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedManifest {
    /// The bytes, whose digest was checked.
    pub bytes: Bytes,
    /// Their media type.
    pub media_type: String,
    /// Their digest.
    pub digest: Digest,
    /// What they say.
    pub manifest: Manifest,
}

/// What a registry has under a name: (digest, media type, size in bytes).
type Found = (Digest, String, u64);

impl RegistryClient {
    /// Asks whether an image is there, without fetching it.
    pub async fn probe(&self, image: &Reference) -> Probe {
        let scopes = Scopes::pull(image.repository());
        let exchange = Exchange::new(
            self,
            image,
            Operation::Probe,
            Some(image.identifier()),
            scopes,
        );
        match exchange
            .retrying(|deadline| exchange.probe_once(&exchange.reference, deadline))
            .await
        {
            Ok(Some((digest, media_type, size))) => Probe::Present {
                digest,
                media_type,
                size,
            },
            Ok(None) => Probe::Absent,
            Err(error) => Probe::Unknown(error),
        }
    }

    /// Fetches a manifest or an index and checks its digest.
    pub async fn manifest(&self, image: &Reference) -> Result<FetchedManifest, RegistryError> {
        let scopes = Scopes::pull(image.repository());
        let subject = Some(image.identifier());
        let exchange = Exchange::new(self, image, Operation::FetchManifest, subject, scopes);
        exchange
            .retrying(|deadline| exchange.fetch_once(&exchange.reference, deadline))
            .await
    }
}

impl Exchange {
    /// One HEAD of a manifest; falls back to GET where the registry does not say enough.
    pub(crate) async fn probe_once(
        &self,
        image: &Reference,
        deadline: Instant,
    ) -> Result<Option<Found>, Fault> {
        let url = self.url(&format!("manifests/{}", image.identifier()))?;
        let mut request = Request::new(Method::HEAD, url, &[200, 404, 405]);
        request.headers = accept_manifests();
        let answer = self.send(&request, deadline).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        if let (200, Some(digest), Some(media_type), Some(size)) = (
            answer.status,
            answer.digest(),
            answer.header("content-type"),
            answer.content_length(),
        ) {
            check_digest(image, digest)?;
            return Ok(Some((digest, media_type.to_owned(), size)));
        }
        match self.fetch_once(image, deadline).await {
            Ok(found) => Ok(Some((
                found.digest,
                found.media_type,
                found.bytes.len() as u64,
            ))),
            Err(Fault::Status { status: 404, .. }) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// One GET of a manifest.
    pub(crate) async fn fetch_once(
        &self,
        image: &Reference,
        deadline: Instant,
    ) -> Result<FetchedManifest, Fault> {
        let url = self.url(&format!("manifests/{}", image.identifier()))?;
        let mut request = Request::new(Method::GET, url, &[200]);
        request.headers = accept_manifests();
        let answer = self.send(&request, deadline).await?;
        let (claimed, content_type) = (
            answer.digest(),
            answer.header("content-type").map(str::to_owned),
        );
        let bytes = answer.bytes(MANIFEST_LIMIT as u64).await?;
        let digest = Digest::of(&bytes);
        check_digest(image, digest)?;
        if let Some(expected) = claimed.filter(|claimed| *claimed != digest) {
            return Err(Fault::Digest {
                expected,
                actual: digest,
            });
        }
        let manifest = Manifest::parse(content_type.as_deref(), &bytes, MANIFEST_LIMIT)
            .map_err(Fault::Manifest)?;
        let media_type = manifest.media_type().to_owned();
        Ok(FetchedManifest {
            bytes,
            media_type,
            digest,
            manifest,
        })
    }
}

/// Checks a digest against the reference's own, if it has one.
fn check_digest(image: &Reference, actual: Digest) -> Result<(), Fault> {
    match image.digest() {
        Some(expected) if expected != actual => Err(Fault::Digest { expected, actual }),
        _ => Ok(()),
    }
}
