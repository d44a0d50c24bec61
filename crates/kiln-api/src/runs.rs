//! Bodies of `/v1/runs`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::EnvironmentId;

/// A script that ran, or is to run, in an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// The id, one in its workspace.
    pub id: String,
    /// What it belongs to.
    pub experiment: String,
    /// From 1 within the experiment.
    pub number: u64,
    /// A name for people.
    pub title: Option<String>,
    /// The run that began this one.
    pub parent: Option<String>,
    /// `NotStarted`, `Preparing`, `Running`, `Finalizing`, `CancelRequested`, `Completed`, `Failed` or `Canceled`.
    pub status: String,
    /// The very version it runs in.
    pub environment: Option<EnvironmentId>,
    /// The image it runs in, `HOST/...@sha256:...`.
    pub image: Option<String>,
    /// `local`, or what else it runs on.
    pub target: String,
    /// The script; null for a command.
    pub script: Option<String>,
    /// The script's arguments, or the command.
    pub arguments: Vec<String>,
    /// What the run is of the source folder.
    pub snapshot: Option<String>,
    /// What programs noted.
    pub properties: BTreeMap<String, String>,
    /// What people noted.
    pub tags: BTreeMap<String, String>,
    /// What its process ended with.
    pub exit_code: Option<i32>,
    /// Why it failed.
    pub error: Option<RunFailure>,
    /// Who asked.
    pub actor: String,
    /// Which way: `http`, `cli`, `sdk`, ...
    pub via: String,
    /// When it was made known, RFC 3339.
    pub created: String,
    /// When its script began, RFC 3339.
    pub started: Option<String>,
    /// When it was over, RFC 3339.
    pub ended: Option<String>,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunFailure {
    /// A class, for example `UserError`.
    pub code: String,
    /// A sentence, or the end of the script's own words.
    pub message: String,
}

/// A page of runs, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunList {
    /// The runs.
    pub value: Vec<Run>,
    /// The `before` of the next page; null when there is none.
    pub next: Option<String>,
}

/// The body of `POST /v1/runs`: a run that the caller itself executes.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRunRequest {
    /// What it belongs to; made where there is none of the name.
    pub experiment: String,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The version it runs in.
    pub environment: EnvironmentId,
    /// The image it runs in, `HOST/...@sha256:...`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What it runs on; `local` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The command.
    #[serde(default)]
    pub command: Vec<String>,
}

/// The body of `PATCH /v1/runs/{id}`; what is absent stays, and of a run that is over the end stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeRunRequest {
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What its process ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunFailure>,
}

/// A file of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunFileInfo {
    /// Its path in the run, for example `outputs/model.pkl`.
    pub path: String,
    /// `sha256:...`.
    pub digest: String,
    /// How many bytes it has.
    pub size_bytes: u64,
}

/// The files of a run, by path.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunFileList {
    /// The files.
    pub value: Vec<RunFileInfo>,
}
