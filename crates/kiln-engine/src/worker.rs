//! The worker: claims builds as long as it has room, and keeps its leases alive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_api::{BuildState, BuildStatus, Failure, FailureClass};
use kiln_spec::Definition;
use kiln_store::ClaimedBuild;

use crate::active::ActiveBuild;
use crate::engine::{Engine, Inner, Key};
use crate::error::EngineError;
use crate::failpoint::failpoint;
use crate::run::Run;

/// The longest sleep between two looks at the queue, whatever it says.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// The sleep after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Starts the worker; it claims builds until [`Engine::shutdown`].
    pub fn work(&self) {
        let engine = self.clone();
        self.inner
            .tasks
            .spawn(async move { engine.claim_builds().await });
    }

    async fn claim_builds(&self) {
        let inner = &self.inner;
        loop {
            let permit = tokio::select! {
                permit = Arc::clone(&inner.slots).acquire_owned() => permit,
                () = inner.drain.cancelled() => return,
            };
            let Ok(permit) = permit else { return };
            let claimed = loop {
                // Asked for before the look, so that what comes in between wakes.
                let woken = inner.work.notified();
                let claim = inner
                    .store
                    .records()
                    .claim(&inner.worker, inner.settings.lease)
                    .await;
                let sleep = match claim {
                    Ok(Some(claimed)) => break claimed,
                    Ok(None) => self.until_due().await,
                    Err(error) => {
                        tracing::error!(%error, "the queue could not be read");
                        STORE_PAUSE
                    }
                };
                tokio::select! {
                    () = woken => {}
                    () = tokio::time::sleep(sleep) => {}
                    () = inner.drain.cancelled() => return,
                }
            };
            inner.outbox.notify_one();
            let engine = self.clone();
            let id = claimed.build.id.clone();
            inner.tasks.spawn(async move {
                let _room = permit;
                if let Err(error) = engine.attempt(claimed).await {
                    // The lease lapses, and the build is claimed again.
                    tracing::error!(%error, build.id = %id, "a claimed build could not be begun");
                }
            });
        }
    }

    async fn until_due(&self) -> Duration {
        match self.inner.store.records().next_due().await {
            Ok(due) => due.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP),
            Err(_) => STORE_PAUSE,
        }
    }

    /// Works on a claimed build once.
    async fn attempt(&self, claimed: ClaimedBuild) -> Result<(), EngineError> {
        failpoint("after-claim");
        let inner = &self.inner;
        let row = &claimed.build;
        let id = row.id.clone();
        let key: Key = (row.scope.clone(), row.spec_hash);
        let status = BuildStatus {
            state: BuildState::Queued,
            ..inner.status_of_row(row)
        };
        let active = inner.activate(&key, &row.id, status);
        if row.is_over() {
            // The third crash: the store ended it in place of giving it out.
            inner.over(&key, &active, inner.status_of_row(row));
            return Ok(());
        }
        let access = inner.access(&row.scope).await?;
        let log = inner.logs.open(&row.id, access.redactor.clone())?;
        let definition = Definition::from_canonical_json(&claimed.canonical).map_err(|error| {
            EngineError::Failed(Failure::new(
                FailureClass::Integrity,
                format!(
                    "the definition of the build {} is not readable: {error}",
                    row.id
                ),
                "restore a backup of the data folder",
            ))
        })?;
        let run = Run {
            inner: Arc::clone(inner),
            key,
            backend: self.backend_of(row)?,
            definition,
            access,
            active,
            log,
            spent: claimed.spent,
            pushed: claimed.pushed,
            began: Instant::now(),
            build: claimed.build,
        };
        // A stopped and continued process may claim what it still works on: one attempt at a time.
        let turn = Arc::clone(&inner.attempts.entry(id.clone()).or_default());
        {
            let _one_at_a_time = turn.lock().await;
            run.attempt().await;
        }
        drop(turn);
        inner
            .attempts
            .remove_if(&id, |_, turn| Arc::strong_count(turn) == 1);
        Ok(())
    }
}

impl Inner {
    /// The build of a definition as waiters see it, made now where nobody asked in this process.
    pub(crate) fn activate(&self, key: &Key, id: &str, status: BuildStatus) -> Arc<ActiveBuild> {
        let mut entry = self
            .active
            .entry(key.clone())
            .or_insert_with(|| Arc::new(ActiveBuild::new(id, status.clone())));
        if entry.id != id {
            *entry = Arc::new(ActiveBuild::new(id, status));
        }
        Arc::clone(&entry)
    }

    /// A build is over: its waiters are told, its log ends.
    pub(crate) fn over(&self, key: &Key, active: &ActiveBuild, status: BuildStatus) {
        self.outbox.notify_one();
        self.logs.close(&active.id);
        self.active.remove_if(key, |_, known| known.id == active.id);
        active.status.send_replace(status);
    }

    /// Returns when the lease can't be held any more: the fence is stale, or it could not be renewed
    /// for two thirds of its time, and soon another worker may claim the build.
    pub(crate) async fn lease_lost(&self, id: &str, fence: i64) {
        let lease = self.settings.lease;
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(lease / 5).await;
            match self.store.records().heartbeat(id, fence, lease).await {
                Ok(true) => renewed = Instant::now(),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, build.id = id, "a lease could not be renewed");
                    if renewed.elapsed() >= lease * 2 / 3 {
                        return;
                    }
                }
            }
        }
    }
}
