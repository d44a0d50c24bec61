//! The blob store as the place of fetched archives, and the records as the cache of base facts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kiln_lock::BaseFacts;
use kiln_oci::Digest;
use kiln_resolve::{ArchiveStore, ArchiveStream, FactsCache, HoldError, PutError};
use kiln_store::{Blobs, PutBlobError, Records, Store, StoreError};

use crate::backend::Archives;
use crate::error::of_store;

/// Archives in the blob store, for who knows that they stay.
#[derive(Debug, Clone)]
pub(crate) struct StoredArchives(pub(crate) Blobs);

/// Archives in the blob store, held against collections before they are looked for.
#[derive(Clone)]
pub(crate) struct HeldArchives {
    pub(crate) store: Store,
    /// The build that holds them until it is over; without one, no collection may run meanwhile.
    pub(crate) build: Option<String>,
}

impl fmt::Debug for HeldArchives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("HeldArchives");
        shown.field("build", &self.build).finish_non_exhaustive()
    }
}

#[async_trait]
impl ArchiveStore for HeldArchives {
    async fn hold(&self, digests: &[Digest]) -> Result<(), HoldError> {
        let Some(build) = self.build.as_ref().filter(|_| !digests.is_empty()) else {
            return Ok(());
        };
        let held = self.store.records().hold_for_build(build, digests).await;
        held.map_err(|error| HoldError {
            is_retryable: of_store(&error).retryable,
            source: Box::new(error),
        })
    }

    async fn path_of(&self, digest: &Digest) -> Option<PathBuf> {
        StoredArchives(self.store.blobs().clone()).path(digest)
    }

    async fn put(&self, digest: &Digest, bytes: ArchiveStream) -> Result<(), PutError> {
        self.store
            .blobs()
            .put(digest, bytes)
            .await
            .map_err(|error| match error {
                PutBlobError::Source(source) => PutError::Stream(source),
                PutBlobError::Digest { actual, .. } => PutError::Digest { actual },
                PutBlobError::Store(StoreError::File { source, .. }) => PutError::Disk(source),
                other => PutError::Disk(std::io::Error::other(other)),
            })
    }
}

impl Archives for StoredArchives {
    fn path(&self, digest: &Digest) -> Option<PathBuf> {
        self.0.contains(digest).then(|| self.0.path(digest))
    }
}

/// Base facts in the records.
#[derive(Clone)]
pub struct StoredFacts(pub Arc<dyn Records>);

#[async_trait]
impl FactsCache for StoredFacts {
    async fn get(&self, manifest: &Digest) -> Option<BaseFacts> {
        let json = self.0.base_facts(&manifest.to_hex()).await.ok()??;
        serde_json::from_str(&json).ok()
    }

    async fn put(&self, manifest: &Digest, facts: &BaseFacts) {
        let json = serde_json::to_string(facts).expect("facts are plain data");
        if let Err(error) = self.0.put_base_facts(&manifest.to_hex(), &json).await {
            tracing::warn!(%error, "facts about a base could not be kept");
        }
    }
}
