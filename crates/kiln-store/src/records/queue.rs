//! Which worker has which build, and for how long.

use std::time::Duration;

use async_trait::async_trait;

use crate::error::StoreError;
use crate::rows::{BuildRow, ClaimedBuild};

/// Leases. They run by a clock that no one sets; a reboot ends them all.
///
/// A build *waits* when it is not over and no worker holds it. A worker whose lease lapses while the
/// build is past QUEUED has *crashed* on it: at the third crash the build is not claimed but ends
/// FAILED with the class `internal`, and that is remembered until it is forgotten.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Claims a build for a worker: the oldest whose lease lapsed, else the oldest that waits and is
    /// due, of the workspace that has the fewest in work and was served the longest ago. It is QUEUED
    /// with a new fence. None when there is nothing to do now.
    async fn claim(
        &self,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<ClaimedBuild>, StoreError>;

    /// Claims this build, as [`Queue::claim`] does; none when another worker holds it, it is not due,
    /// or it is over.
    async fn claim_build(
        &self,
        id: &str,
        worker: &str,
        lease: Duration,
    ) -> Result<Option<ClaimedBuild>, StoreError>;

    /// Makes the lease last this long from now on; false when the fence is stale or the build over.
    async fn heartbeat(&self, id: &str, fence: i64, lease: Duration) -> Result<bool, StoreError>;

    /// Gives a build back unfinished: it waits, under a new fence, and no crash is counted. False when
    /// the fence is stale or the build over.
    async fn release(&self, id: &str, fence: i64) -> Result<bool, StoreError>;

    /// Gives a build back after a failure that may pass: it is due again after the delay, as the next
    /// attempt. False when the fence is stale or the build over.
    async fn retry_at(
        &self,
        id: &str,
        fence: i64,
        delay: Duration,
        failure_json: &str,
    ) -> Result<bool, StoreError>;

    /// A worker's process is gone: its leases have lapsed, its fences are stale. Answers how many.
    async fn reset_worker(&self, worker: &str) -> Result<u64, StoreError>;

    /// As [`Queue::reset_worker`], for every worker but this one: at the start of the only process
    /// that may work on these records.
    async fn reset_other_workers(&self, worker: &str) -> Result<u64, StoreError>;

    /// The time until a build may be claimed that can't be now: it becomes due, or its lease lapses.
    /// None when nothing is waited for.
    async fn next_due(&self) -> Result<Option<Duration>, StoreError>;

    /// How many builds wait for a worker.
    async fn waiting_builds(&self) -> Result<u64, StoreError>;

    /// Takes a build over, whoever has it: it waits as the next attempt, under a new fence.
    async fn take_over(&self, id: &str) -> Result<Option<BuildRow>, StoreError>;
}
