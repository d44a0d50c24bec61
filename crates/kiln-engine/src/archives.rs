//! The blob store as the place of fetched archives, and the records as the cache of base facts.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kiln_lock::BaseFacts;
use kiln_oci::Digest;
use kiln_resolve::{ArchiveStore, ArchiveStream, FactsCache, PutError};
use kiln_store::{Blobs, PutBlobError, Records, StoreError};

use crate::backend::Archives;

/// Archives in the blob store.
#[derive(Debug, Clone)]
pub struct StoredArchives(pub Blobs);

#[async_trait]
impl ArchiveStore for StoredArchives {
    async fn path_of(&self, digest: &Digest) -> Option<PathBuf> {
        self.path(digest)
    }

    async fn put(&self, digest: &Digest, bytes: ArchiveStream) -> Result<(), PutError> {
        self.0
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
