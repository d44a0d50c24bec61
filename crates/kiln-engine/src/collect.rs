//! Garbage collection: what no running build and no current generation needs goes, after a time of
//! grace; and with it what was kept long enough.
//!
//! A build's archives are held for it before it looks for them (`archives.rs`) and named by its lock
//! from then on, so a collection may run at any time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kiln_api::{GcArchive, GcReport, GcShare};
use kiln_store::{CollectibleBlob, StoreError};
use rand::Rng as _;

use crate::engine::{Engine, Inner};
use crate::error::EngineError;
use crate::leftovers::{self, Leftover};

/// Archives that a report names.
const NAMED: usize = 100;
/// Nobody works with a temporary file so long without changing it.
const LEFT_AFTER: Duration = Duration::from_hours(24);

/// For how long what nothing needs is kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Archives and locks after their last use.
    pub grace: Duration,
    /// Logs after the end of their builds.
    pub logs: Duration,
}

impl Engine {
    /// Tells what nothing needs, and removes it where `apply` says so. It goes on when the caller
    /// goes away; a second one waits for the first.
    pub async fn collect(
        &self,
        grace: Option<Duration>,
        apply: bool,
    ) -> Result<GcReport, EngineError> {
        if !self.inner.taking_work() {
            return Err(EngineError::Stopping);
        }
        let inner = Arc::clone(&self.inner);
        let work = async move { inner.collect(grace, apply).await };
        let collected = self.inner.tasks.spawn(work).await;
        collected.map_err(|error| EngineError::Data(std::io::Error::other(error)))?
    }

    /// Collects once in `every`, until kiln stops; for the first time soon after the start, so that
    /// kilns that start together don't collect together.
    pub async fn keep_collected(&self, every: Duration) {
        let collections = async {
            let mut pause = every.mul_f64(rand::rng().random_range(0.01..0.1));
            loop {
                tokio::time::sleep(pause).await;
                pause = every;
                match self.collect(None, true).await {
                    Ok(report) if is_empty(&report) => {}
                    Ok(report) => tracing::info!(
                        bytes = report.size_bytes(),
                        archives = report.archives.count,
                        locks = report.locks,
                        logs = report.logs.count,
                        leftovers = report.leftovers.count,
                        rows = report.rows,
                        "what nothing needs was removed"
                    ),
                    Err(error) => {
                        let failure = error.failure();
                        tracing::warn!("a collection failed: {}", failure.message);
                    }
                }
            }
        };
        let _ = self.inner.drain.run_until_cancelled(collections).await;
    }
}

impl Inner {
    async fn collect(&self, grace: Option<Duration>, apply: bool) -> Result<GcReport, EngineError> {
        let _one_at_a_time = self.collecting.write().await;
        let keep = self.settings.keep;
        let grace = grace.unwrap_or(keep.grace);
        let plan = self.store.plan_collection(grace).await?;
        let logs = self.old_logs(keep.logs).await?;
        let leftovers = self.leftovers().await?;
        let mut report = GcReport {
            applied: apply,
            grace_seconds: grace.as_secs(),
            locks: plan.locks.len() as u64,
            ..GcReport::default()
        };
        report.archives = share(&plan.blobs);
        report.first = named(&plan.blobs);
        if !apply {
            report.logs = logs.iter().map(|log| log.size_bytes).collect();
            report.leftovers = leftovers.iter().map(|left| left.size_bytes).collect();
            return Ok(report);
        }
        // Files first: they free the space that rows may need.
        report.logs = removed(logs).await?;
        report.leftovers = removed(leftovers).await?;
        let collected = self.store.collect(&plan).await?;
        report.archives = share(&collected.blobs);
        report.first = named(&collected.blobs);
        report.locks = collected.locks;
        report.rows = self.store.records().prune().await?;
        Ok(report)
    }

    /// Logs that were not written for so long, and whose builds are over.
    async fn old_logs(&self, keep: Duration) -> Result<Vec<Leftover>, EngineError> {
        let Some(before) = SystemTime::now().checked_sub(keep) else {
            return Ok(Vec::new());
        };
        let logs = self.logs.unchanged_since(before)?;
        let mut old = Vec::new();
        for (id, log) in logs {
            if self.is_over(&id).await? {
                old.push(log);
            }
        }
        Ok(old)
    }

    /// What is left of work that is over.
    async fn leftovers(&self) -> Result<Vec<Leftover>, EngineError> {
        let Some(before) = SystemTime::now().checked_sub(LEFT_AFTER) else {
            return Ok(Vec::new());
        };
        let data = self.store.data();
        let mut left = Vec::new();
        for leftover in leftovers::find(data, before)? {
            let id = leftover.path.strip_prefix(data.work()).ok();
            let over = match id.and_then(|id| id.to_str()) {
                Some(id) => !self.attempts.contains_key(id) && self.is_over(id).await?,
                None => true,
            };
            if over {
                left.push(leftover);
            }
        }
        Ok(left)
    }

    /// Whether no build of this id goes on.
    async fn is_over(&self, id: &str) -> Result<bool, StoreError> {
        let row = self.store.records().build(id).await?;
        Ok(row.is_none_or(|row| row.is_over()))
    }
}

fn share(blobs: &[CollectibleBlob]) -> GcShare {
    blobs.iter().map(|blob| blob.size_bytes).collect()
}

fn named(blobs: &[CollectibleBlob]) -> Vec<GcArchive> {
    let named = blobs.iter().take(NAMED).map(|blob| GcArchive {
        digest: blob.digest.to_string(),
        size_bytes: blob.size_bytes,
        used: date(blob.used_ms),
    });
    named.collect()
}

/// Milliseconds since the Unix epoch as RFC 3339, to the second.
fn date(ms: i64) -> String {
    let date = time::OffsetDateTime::from_unix_timestamp(ms.div_euclid(1000));
    date.ok()
        .and_then(|date| {
            let format = time::format_description::well_known::Rfc3339;
            date.format(&format).ok()
        })
        .unwrap_or_default()
}

/// Removes files, and tells how many went. One that can't be removed is told and left.
async fn removed(files: Vec<Leftover>) -> Result<GcShare, EngineError> {
    let work = move || {
        let removed = |file: &Leftover| match leftovers::remove(file) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "a file that nothing needs could not be removed");
                false
            }
        };
        let gone = files.into_iter().filter(removed);
        gone.map(|file| file.size_bytes).collect::<GcShare>()
    };
    let work = tokio::task::spawn_blocking(work).await;
    work.map_err(|error| EngineError::Data(std::io::Error::other(error)))
}

fn is_empty(report: &GcReport) -> bool {
    let files = report.archives.count + report.logs.count + report.leftovers.count;
    files + report.locks + report.rows == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_rfc_3339_and_odd_ones_are_none() {
        assert_eq!(date(1_700_000_000_999), "2023-11-14T22:13:20Z");
        assert_eq!(date(i64::MAX), "");
    }
}
