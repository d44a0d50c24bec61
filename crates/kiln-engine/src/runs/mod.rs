//! Experiments and runs of workspaces: what ran, in which environment, and what came of it.

mod environment;

use bytes::Bytes;
use futures::Stream;
use kiln_oci::Digest;
use kiln_store::{
    BegunRun, ExperimentName, ExperimentRow, ModelFile, NewRun, RunChange, RunFile, RunFilter,
    RunId, RunMetric, RunRow, Scope,
};

use crate::engine::Engine;
use crate::error::EngineError;

pub use environment::DEFAULT_RUN_ENVIRONMENT;

/// Where the files of a run's source folder are among its files.
const SOURCE: &str = "source/";

/// What the files of a source folder are together: equal folders are equal.
fn snapshot(files: &[RunFile]) -> String {
    let lines = files.iter().map(|file| {
        let path = file.path.as_str().trim_start_matches(SOURCE);
        format!("{} {path}\n", file.digest)
    });
    Digest::of(lines.collect::<String>().as_bytes()).to_string()
}

fn no_run(id: &RunId) -> EngineError {
    EngineError::NotFound {
        what: format!("run `{id}`"),
    }
}

impl Engine {
    /// An experiment, made where there is none of the name.
    pub async fn put_experiment(
        &self,
        scope: &Scope,
        name: &ExperimentName,
        actor: &str,
    ) -> Result<ExperimentRow, EngineError> {
        let records = self.inner.store.records();
        Ok(records.put_experiment(scope, name, actor).await?)
    }

    /// An experiment by its name.
    pub async fn experiment(
        &self,
        scope: &Scope,
        name: &ExperimentName,
    ) -> Result<ExperimentRow, EngineError> {
        let found = self.inner.store.records().experiment(scope, name).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: format!("experiment `{name}`"),
        })
    }

    /// An experiment by its id.
    pub async fn experiment_by_id(
        &self,
        scope: &Scope,
        id: &str,
    ) -> Result<ExperimentRow, EngineError> {
        let records = self.inner.store.records();
        let found = records.experiment_by_id(scope, id).await?;
        found.ok_or_else(|| EngineError::NotFound {
            what: "experiment of this id".into(),
        })
    }

    /// Experiments by name, after one.
    pub async fn experiments(
        &self,
        scope: &Scope,
        limit: u32,
        after: Option<&ExperimentName>,
    ) -> Result<Vec<ExperimentRow>, EngineError> {
        let records = self.inner.store.records();
        Ok(records.experiments(scope, limit, after).await?)
    }

    /// Makes a run known; one of its id that is there stays as it is.
    ///
    /// # Errors
    /// Its environment is no version that the workspace has.
    pub async fn begin_run(&self, scope: &Scope, new: &NewRun) -> Result<BegunRun, EngineError> {
        if let Some(environment) = &new.environment {
            let which = kiln_spec::Which::Version(environment.version.clone());
            self.environment(scope, &environment.name, &which).await?;
        }
        Ok(self.inner.store.records().begin_run(scope, new).await?)
    }

    /// A run by its id.
    pub async fn run_of(&self, scope: &Scope, id: &RunId) -> Result<RunRow, EngineError> {
        let found = self.inner.store.records().run(scope, id).await?;
        found.ok_or_else(|| no_run(id))
    }

    /// Runs of a workspace, newest first.
    pub async fn runs(
        &self,
        scope: &Scope,
        filter: &RunFilter,
    ) -> Result<Vec<RunRow>, EngineError> {
        Ok(self.inner.store.records().runs(scope, filter).await?)
    }

    /// Changes a run; of one that is over, its end stays.
    pub async fn change_run(
        &self,
        scope: &Scope,
        id: &RunId,
        change: &RunChange,
    ) -> Result<RunRow, EngineError> {
        let records = self.inner.store.records();
        let changed = records.change_run(scope, id, change).await?;
        changed.ok_or_else(|| no_run(id))
    }

    /// The files of a run whose paths begin so.
    pub async fn run_files(
        &self,
        scope: &Scope,
        id: &RunId,
        prefix: &str,
    ) -> Result<Vec<RunFile>, EngineError> {
        let records = self.inner.store.records();
        Ok(records.run_files(scope, id, prefix).await?)
    }

    /// Keeps files whose blobs are there as files of a run. Those of the source folder make up its snapshot, which
    /// is the digest of their paths and contents.
    pub async fn keep_run_files(
        &self,
        scope: &Scope,
        id: &RunId,
        files: &[RunFile],
    ) -> Result<(), EngineError> {
        let records = self.inner.store.records();
        if !records.put_run_files(scope, id, files).await? {
            return Err(no_run(id));
        }
        let source = records.run_files(scope, id, SOURCE).await?;
        if files
            .iter()
            .any(|file| file.path.as_str().starts_with(SOURCE))
        {
            let change = RunChange {
                snapshot: Some(snapshot(&source)),
                ..RunChange::default()
            };
            self.change_run(scope, id, &change).await?;
        }
        Ok(())
    }

    /// Files as a tar, in their order.
    pub fn run_tar(
        &self,
        files: Vec<RunFile>,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + use<> {
        let files = files.into_iter().map(|file| ModelFile {
            path: file.path,
            digest: file.digest,
            size_bytes: file.size_bytes,
        });
        crate::models::send(files.collect(), self.inner.store.blobs().clone())
    }

    /// Adds values that a run logged.
    pub async fn add_run_metrics(
        &self,
        scope: &Scope,
        id: &RunId,
        metrics: &[RunMetric],
    ) -> Result<(), EngineError> {
        let records = self.inner.store.records();
        let known = records.add_run_metrics(scope, id, metrics).await?;
        known.then_some(()).ok_or_else(|| no_run(id))
    }

    /// The values that a run logged, of one metric or all.
    pub async fn run_metrics(
        &self,
        scope: &Scope,
        id: &RunId,
        name: Option<&str>,
    ) -> Result<Vec<RunMetric>, EngineError> {
        let records = self.inner.store.records();
        Ok(records.run_metrics(scope, id, name).await?)
    }
}
