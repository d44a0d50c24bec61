//! Where fetched archives are kept; the caller implements it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use kiln_oci::Digest;

/// An archive's bytes as they come.
pub type ArchiveStream = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// A content-addressed store of archives.
#[async_trait]
pub trait ArchiveStore: fmt::Debug + Send + Sync {
    /// Keeps these archives, those that are not there yet too, as long as the work goes on that asks
    /// for them; it is called before any of them is looked for.
    async fn hold(&self, digests: &[Digest]) -> Result<(), HoldError>;

    /// The file of an archive that is in the store, whole and verified.
    async fn path_of(&self, digest: &Digest) -> Option<PathBuf>;

    /// Stores a stream whose bytes have the digest; nothing stays behind when they have not or when
    /// the stream fails.
    async fn put(&self, digest: &Digest, bytes: ArchiveStream) -> Result<(), PutError>;
}

/// Says why archives can't be kept.
#[derive(Debug, thiserror::Error)]
#[error("the store of archives does not answer")]
pub struct HoldError {
    /// Whether asking again may help.
    pub is_retryable: bool,
    /// Why.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Says why an archive was not stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The stream failed.
    #[error("the download broke off")]
    Stream(#[source] io::Error),
    /// The bytes are others.
    #[error("the archive has digest {actual}")]
    Digest {
        /// The digest of what came.
        actual: Digest,
    },
    /// The store's disk fails.
    #[error("writing the archive failed")]
    Disk(#[source] io::Error),
}
