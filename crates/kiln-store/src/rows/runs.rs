//! Experiments and runs.

use std::collections::BTreeMap;

use kiln_oci::Digest;
use kiln_spec::{EnvironmentName, EnvironmentVersion};

use crate::error::StoreError;
use crate::model_names::FilePath;
use crate::run_names::{ExperimentName, RunId};

/// What runs belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentRow {
    /// Its name.
    pub name: ExperimentName,
    /// A UUID.
    pub id: String,
    /// Who made it.
    pub actor: String,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// How far a run is, in the words of Azure ML.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunStatus {
    /// It is known and nothing more.
    NotStarted,
    /// Its image is made.
    Preparing,
    /// Its script runs.
    Running,
    /// Its script is over, and what it wrote is kept.
    Finalizing,
    /// It is to be stopped.
    CancelRequested,
    /// Its script ended well.
    Completed,
    /// Its script, or what it needed, failed.
    Failed,
    /// It was stopped.
    Canceled,
}

impl RunStatus {
    const ALL: [Self; 8] = [
        Self::NotStarted,
        Self::Preparing,
        Self::Running,
        Self::Finalizing,
        Self::CancelRequested,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Preparing => "Preparing",
            Self::Running => "Running",
            Self::Finalizing => "Finalizing",
            Self::CancelRequested => "CancelRequested",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Canceled => "Canceled",
        }
    }

    /// The status of this word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether the run is over: this status never changes.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }

    /// Whether the script of such a run was begun.
    pub(crate) const fn is_begun(self) -> bool {
        matches!(self, Self::Running | Self::Finalizing | Self::Completed)
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        Self::of_word(text).ok_or(StoreError::Row { what: "run" })
    }
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunError {
    /// A class, for example `UserError`.
    pub code: String,
    /// A sentence, or the end of the script's own words.
    pub message: String,
}

/// The environment of a run: this very version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunEnvironment {
    /// Its name.
    pub name: EnvironmentName,
    /// Its version.
    pub version: EnvironmentVersion,
}

/// What is to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Its id, which the caller made up.
    pub id: RunId,
    /// The experiment, made where there is none of the name.
    pub experiment: ExperimentName,
    /// The run that began this one.
    pub parent: Option<RunId>,
    /// A name for people.
    pub title: Option<String>,
    /// How far it is.
    pub status: RunStatus,
    /// The environment, registered in the workspace.
    pub environment: Option<RunEnvironment>,
    /// `local`, or what else it runs on.
    pub target: String,
    /// The script, relative to the source folder; none is a command.
    pub script: Option<String>,
    /// The script's arguments, or the command.
    pub arguments: Vec<String>,
    /// The whole configuration as a client sent it, JSON without credentials.
    pub definition: Option<String>,
    /// What the run is of the source folder.
    pub snapshot: Option<String>,
    /// What programs note, each once.
    pub properties: BTreeMap<String, String>,
    /// What people note.
    pub tags: BTreeMap<String, String>,
    /// Who asked.
    pub actor: String,
    /// Which way.
    pub via: String,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// What it was begun as; `status`, `snapshot`, `properties`, `tags`, `title` and `environment` are as
    /// they are now.
    pub run: NewRun,
    /// The experiment's id.
    pub experiment_id: String,
    /// From 1 within the experiment.
    pub number: u64,
    /// A UUID.
    pub uuid: String,
    /// The image it runs in, `HOST/...@sha256:...`.
    pub image: Option<String>,
    /// What its process ended with.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub error: Option<RunError>,
    /// When it was made known, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was last heard of.
    pub changed_ms: i64,
    /// When its script began.
    pub started_ms: Option<i64>,
    /// When it was over.
    pub ended_ms: Option<i64>,
}

/// What came of a run to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BegunRun {
    /// It is new.
    New(RunRow),
    /// There is one of this id; nothing was written.
    There(RunRow),
}

/// What changes of a run; what is none stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunChange {
    /// How far it is; a run that is over stays as it is.
    pub status: Option<RunStatus>,
    /// The environment, where it was not known before.
    pub environment: Option<RunEnvironment>,
    /// The image.
    pub image: Option<String>,
    /// What its process ended with.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub error: Option<RunError>,
    /// The snapshot.
    pub snapshot: Option<String>,
    /// A name for people.
    pub title: Option<String>,
    /// Properties to set; one that is set already stays.
    pub properties: BTreeMap<String, String>,
    /// Tags to set; none takes one away.
    pub tags: BTreeMap<String, Option<String>>,
}

/// Which runs a list has, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Of this experiment.
    pub experiment: Option<ExperimentName>,
    /// In this environment, any version.
    pub environment: Option<EnvironmentName>,
    /// That began by themselves, not by another.
    pub roots: bool,
    /// Older than this one.
    pub before: Option<RunId>,
    /// At most so many.
    pub limit: u32,
}

/// A file that a run wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFile {
    /// Its path in the run, for example `outputs/model.pkl`.
    pub path: FilePath,
    /// Its bytes.
    pub digest: Digest,
    /// How many they are.
    pub size_bytes: u64,
}

/// A value that a run logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMetric {
    /// Its id: a value that is sent again is the same.
    pub id: String,
    /// The metric.
    pub name: String,
    /// The types of its columns, a JSON object.
    pub columns: String,
    /// What is said of the metric, a JSON object.
    pub properties: String,
    /// The value by column, a JSON object.
    pub data: String,
    /// When, as the client wrote it.
    pub at: String,
}
