//! After a start: what an earlier process left unfinished goes on, or is ended.

use kiln_api::{BuildState, BuildStatus, Failure, FailureClass};
use kiln_store::{BuildRow, KnownImage};

use crate::backend::Backend;
use crate::engine::{Engine, Inner, Key};
use crate::error::{EngineError, of_store};
use crate::uploads::open_uploads;

/// What becomes of unfinished builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// They go on: the daemon's way.
    Resume,
    /// They are ended as cancelled, and can be asked for again: the way of a single command.
    Abandon,
}

/// Tags that are set again at a start.
const TAGS_AT_START: u32 = 1000;

impl Engine {
    /// Deals with the unfinished builds of earlier processes, and sweeps in the background what they
    /// left. Nobody else may work with the records.
    pub async fn recover(&self, recovery: Recovery) -> Result<(), EngineError> {
        let inner = &self.inner;
        let records = inner.store.records();
        inner.store.data().sweep()?;
        // Those of this process come later.
        let uploads = open_uploads(&inner.store.data().uploads());
        let interrupted = records.reset_other_workers(&inner.worker).await?;
        let unfinished = records.unfinished_builds().await?;
        if interrupted > 0 {
            tracing::info!(builds = interrupted, "an earlier process was interrupted");
        }
        if recovery == Recovery::Abandon {
            for (row, _) in &unfinished {
                inner.abandon(row).await?;
            }
            if unfinished.is_empty() && uploads.is_empty() {
                return Ok(());
            }
        }
        let engine = self.clone();
        let sweeping = async move {
            engine.sweep().await;
            engine.inner.end_uploads(uploads).await;
        };
        match recovery {
            // The daemon answers meanwhile; leftovers are nobody's.
            Recovery::Resume => drop(inner.tasks.spawn(sweeping)),
            Recovery::Abandon => sweeping.await,
        }
        Ok(())
    }

    async fn sweep(&self) {
        let inner = &self.inner;
        for backend in &inner.backends {
            // An engine that is down now has nothing running; it is swept at the next start.
            if let Err(failure) = self.sweep_backend(backend.as_ref()).await {
                tracing::warn!(
                    backend = backend.name(),
                    "leftovers were not swept: {}",
                    failure.message
                );
            }
        }
        match inner.store.records().untagged_images(TAGS_AT_START).await {
            Ok(images) => {
                for image in images {
                    inner.tag_again(image).await;
                }
            }
            Err(error) => tracing::warn!(%error, "untagged images could not be listed"),
        }
    }
}

impl Engine {
    /// Removes what is left of builds that are over. Those that are not can go on with it, and those
    /// that these records don't know are another kiln's, which shares the backend.
    async fn sweep_backend(&self, backend: &dyn Backend) -> Result<(), Failure> {
        let mut over = Vec::new();
        for id in backend.leftovers().await? {
            let row = self.inner.store.records().build(&id).await;
            if row
                .map_err(|error| of_store(&error))?
                .is_some_and(|row| row.is_over())
            {
                over.push(id);
            }
        }
        backend.remove(&over).await
    }
}

impl Inner {
    /// Sets the tags that a crash or a fault of the registry left unset.
    async fn tag_again(&self, image: KnownImage) {
        let Ok(access) = self.access(&image.scope).await else {
            return;
        };
        let row = &image.image;
        let key: Key = (image.scope, image.spec_hash);
        let current = self.store.records().current_image(&key.0, &key.1).await;
        let is_current =
            matches!(current, Ok(Some(current)) if current.generation == row.generation);
        match self.tag(&access.registry, row, is_current).await {
            Ok(()) => self.tagged(&key, row.generation).await,
            Err(failure) => {
                tracing::warn!(image = %row.repository, "an image could not be tagged: {}", failure.message);
            }
        }
    }

    /// The tags of an image are set.
    pub(crate) async fn tagged(&self, key: &Key, generation: u64) {
        let records = self.store.records();
        if let Err(error) = records.mark_tagged(&key.0, &key.1, generation).await {
            // They are set once more at the next start.
            tracing::warn!(%error, "set tags could not be recorded");
        }
    }

    async fn abandon(&self, row: &BuildRow) -> Result<(), kiln_store::StoreError> {
        let Some(row) = self.store.records().take_over(&row.id).await? else {
            return Ok(());
        };
        let failure = Failure::new(
            FailureClass::Cancelled,
            "the process that built it ended",
            "ask again to build it",
        );
        let json = serde_json::to_string(&failure).expect("a failure is plain data");
        let state = BuildState::Cancelled.as_str();
        self.store
            .records()
            .finish_failed(&row.id, row.fence, state, &json, None)
            .await?;
        Ok(())
    }

    /// A row as the API shows it.
    pub(crate) fn status_of_row(&self, row: &BuildRow) -> BuildStatus {
        let state = match row.state.as_str() {
            "QUEUED" => BuildState::Queued,
            "RESOLVING" => BuildState::Resolving,
            "BUILDING" => BuildState::Building,
            "PUSHING" => BuildState::Pushing,
            "READY" => BuildState::Ready,
            "CANCELLED" => BuildState::Cancelled,
            _ => BuildState::Failed,
        };
        // Phases that only the task knows are newer than the row.
        let live = self.active.get(&(row.scope.clone(), row.spec_hash));
        let live = live.filter(|active| active.id == row.id && !state.is_final());
        let state = live.map_or(state, |active| active.status.borrow().state);
        BuildStatus {
            name: row.spec_hash.image_name(),
            image: row
                .digest
                .map(|digest| format!("{}@{digest}", row.repository)),
            spec_hash: row.spec_hash.to_hex(),
            environment: None,
            build_id: Some(row.id.clone()),
            state,
            generation: row.generation,
            cached: false,
            joined: false,
            waiter: None,
            error: row
                .failure_json
                .as_deref()
                .filter(|_| row.is_over())
                .and_then(|json| serde_json::from_str(json).ok()),
            warnings: Vec::new(),
            backend: Some(row.backend.clone()),
        }
    }
}
