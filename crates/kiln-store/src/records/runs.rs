//! Experiments and runs of workspaces.

use async_trait::async_trait;

use crate::error::StoreError;
use crate::rows::{
    BegunRun, ExperimentRow, NewRun, RunChange, RunFile, RunFilter, RunMetric, RunRow,
};
use crate::run_names::{ExperimentName, RunId};
use crate::scope::Scope;

/// Experiments and runs of workspaces.
#[async_trait]
pub trait Runs: Send + Sync {
    /// The experiment of a name, made where there is none.
    async fn put_experiment(
        &self,
        scope: &Scope,
        name: &ExperimentName,
        actor: &str,
    ) -> Result<ExperimentRow, StoreError>;

    /// An experiment by its name.
    async fn experiment(
        &self,
        scope: &Scope,
        name: &ExperimentName,
    ) -> Result<Option<ExperimentRow>, StoreError>;

    /// An experiment by its id.
    async fn experiment_by_id(
        &self,
        scope: &Scope,
        id: &str,
    ) -> Result<Option<ExperimentRow>, StoreError>;

    /// Experiments by name, after one.
    async fn experiments(
        &self,
        scope: &Scope,
        limit: u32,
        after: Option<&ExperimentName>,
    ) -> Result<Vec<ExperimentRow>, StoreError>;

    /// Writes a run, and its experiment where there is none; one that is there stays as it is. The
    /// environment must be registered in the workspace.
    async fn begin_run(&self, scope: &Scope, run: &NewRun) -> Result<BegunRun, StoreError>;

    /// A run by its id.
    async fn run(&self, scope: &Scope, id: &RunId) -> Result<Option<RunRow>, StoreError>;

    /// Runs, newest first.
    async fn runs(&self, scope: &Scope, filter: &RunFilter) -> Result<Vec<RunRow>, StoreError>;

    /// Runs of all workspaces that are not over and were not heard of since a time, oldest first.
    async fn silent_runs(
        &self,
        before_ms: i64,
        limit: u32,
    ) -> Result<Vec<(Scope, RunId)>, StoreError>;

    /// Changes a run, and notes that it was heard of; none when there is none. Of one that is over,
    /// status, exit code, error and image stay.
    async fn change_run(
        &self,
        scope: &Scope,
        id: &RunId,
        change: &RunChange,
    ) -> Result<Option<RunRow>, StoreError>;

    /// Keeps files of a run, in place of those with the same paths; their blobs are held as long as the run
    /// is known. False when there is no such run.
    async fn put_run_files(
        &self,
        scope: &Scope,
        id: &RunId,
        files: &[RunFile],
    ) -> Result<bool, StoreError>;

    /// The files of a run whose paths begin so, by path.
    async fn run_files(
        &self,
        scope: &Scope,
        id: &RunId,
        prefix: &str,
    ) -> Result<Vec<RunFile>, StoreError>;

    /// Adds values that a run logged; one whose id is there stays as it is. False when there is no such
    /// run.
    async fn add_run_metrics(
        &self,
        scope: &Scope,
        id: &RunId,
        metrics: &[RunMetric],
    ) -> Result<bool, StoreError>;

    /// The values that a run logged, of one metric or all, in the order in which they came.
    async fn run_metrics(
        &self,
        scope: &Scope,
        id: &RunId,
        name: Option<&str>,
    ) -> Result<Vec<RunMetric>, StoreError>;
}
