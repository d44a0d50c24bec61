//! What is needed of locks and blobs, and what is not.

use async_trait::async_trait;
use kiln_oci::Digest;
use kiln_spec::SpecHash;

use crate::error::StoreError;
use crate::rows::{BlobRow, IdleLock};
use crate::scope::Scope;

/// Takes a blob's file away; false when it is not there or was written since.
pub type TakeAway<'a> = &'a (dyn Fn(&Digest) -> Result<bool, StoreError> + Send + Sync);

/// Roots and references of the garbage collection.
///
/// A blob is needed when a lock names it that belongs to a current generation, a pinned generation or
/// a build that is not over; or when such a build or somebody else holds it. A lock is needed when an image of any
/// generation, a definition or a build that is not over has it.
#[async_trait]
pub trait Collection: Send + Sync {
    /// Keeps what a generation needs as long as the holder wants it; false when there is no such image.
    async fn pin_image(
        &self,
        scope: &Scope,
        spec_hash: &SpecHash,
        generation: u64,
        holder: &str,
    ) -> Result<bool, StoreError>;

    /// The holder wants none of its generations any more; answers how many it had.
    async fn unpin_images(&self, holder: &str) -> Result<u64, StoreError>;

    /// Keeps blobs that no lock names as long as the holder wants them.
    async fn hold_blobs(&self, holder: &str, blobs: &[Digest]) -> Result<(), StoreError>;

    /// Keeps blobs until a build is over, whatever ends it.
    async fn hold_for_build(&self, build_id: &str, blobs: &[Digest]) -> Result<(), StoreError>;

    /// The holder wants none of its blobs any more; answers how many it had.
    async fn release_blobs(&self, holder: &str) -> Result<u64, StoreError>;

    /// Blobs are used now: they stay for the time of grace. Putting a lock says so of all it names.
    async fn use_blobs(&self, blobs: &[Digest]) -> Result<(), StoreError>;

    /// The blobs that are known, whether their files are there or not.
    async fn blob_rows(&self) -> Result<Vec<BlobRow>, StoreError>;

    /// Locks that are not needed and were not put since then.
    async fn idle_locks(&self, before_ms: i64) -> Result<Vec<IdleLock>, StoreError>;

    /// Takes blobs away that are not needed and were not used since then; while it looks, nothing else
    /// is written. Answers which it took.
    async fn drop_blobs(
        &self,
        blobs: &[Digest],
        before_ms: i64,
        take_away: TakeAway<'_>,
    ) -> Result<Vec<Digest>, StoreError>;

    /// Removes locks that are still not needed and were not put since then; answers how many.
    async fn drop_locks(&self, locks: &[IdleLock], before_ms: i64) -> Result<u64, StoreError>;

    /// Now, as the records date it: milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}
