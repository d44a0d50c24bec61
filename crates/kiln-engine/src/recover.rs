//! After a start: what an earlier process left unfinished goes on, or is ended.

use kiln_api::{BackendChoice, BuildState, BuildStatus, Failure, FailureClass};
use kiln_spec::Definition;
use kiln_store::BuildRow;

use crate::engine::{Engine, Inner};
use crate::error::EngineError;
use crate::submission::Options;

/// What becomes of unfinished builds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// They go on: the daemon's way.
    Resume,
    /// They are ended as cancelled, and can be asked for again: the way of a single command.
    Abandon,
}

impl Engine {
    /// Sweeps what earlier processes left, and deals with their unfinished builds.
    pub async fn recover(&self, recovery: Recovery) -> Result<(), EngineError> {
        let inner = &self.inner;
        inner.store.data().sweep()?;
        let unfinished = inner.store.records().unfinished_builds().await?;
        if unfinished.is_empty() && recovery == Recovery::Abandon {
            return Ok(());
        }
        for backend in &inner.backends {
            // An engine that is down now has nothing running; it is swept at the next start.
            if let Err(failure) = backend.sweep().await {
                tracing::warn!(
                    backend = backend.name(),
                    "leftovers were not swept: {}",
                    failure.message
                );
            }
        }
        for (row, canonical) in unfinished {
            match recovery {
                Recovery::Resume => self.resume(row, &canonical).await?,
                Recovery::Abandon => inner.abandon(&row).await?,
            }
        }
        Ok(())
    }

    async fn resume(&self, row: BuildRow, canonical: &str) -> Result<(), EngineError> {
        let inner = &self.inner;
        let Some(row) = inner.store.records().take_over(&row.id).await? else {
            return Ok(());
        };
        let Ok(definition) = Definition::from_canonical_json(canonical) else {
            tracing::error!(build.id = %row.id, "a build's definition is not readable");
            return Ok(inner.abandon(&row).await?);
        };
        let choice = match row.backend.as_str() {
            "docker" => BackendChoice::Docker,
            "assemble" => BackendChoice::Assemble,
            _ => BackendChoice::Auto,
        };
        let backend = self
            .choose(choice)
            .or_else(|_| self.choose(BackendChoice::Auto))?;
        tracing::info!(build.id = %row.id, "a build goes on after a restart");
        let key = (row.scope.clone(), row.spec_hash);
        let status = BuildStatus {
            state: BuildState::Queued,
            ..inner.status_of_row(&row)
        };
        let access = inner.access(&row.scope).await?;
        let options = Options {
            refresh: row.refresh,
            ..Options::default()
        };
        self.spawn(key, row, definition, backend, options, access, status)?;
        Ok(())
    }
}

impl Inner {
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
        let live = live.filter(|entry| entry.0 == row.id && !state.is_final());
        let state = live.map_or(state, |entry| entry.1.status.borrow().state);
        BuildStatus {
            name: row.spec_hash.image_name(),
            image: row
                .digest
                .map(|digest| format!("{}@{digest}", row.repository)),
            spec_hash: row.spec_hash.to_hex(),
            build_id: Some(row.id.clone()),
            state,
            generation: row.generation,
            cached: false,
            joined: false,
            error: row
                .failure_json
                .as_deref()
                .and_then(|json| serde_json::from_str(json).ok()),
            warnings: Vec::new(),
            backend: Some(row.backend.clone()),
        }
    }
}
