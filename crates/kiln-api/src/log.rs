//! Events of a build's log, as `GET /v1/builds/{id}/logs` sends them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::BuildState;

/// One event of a build's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogEvent {
    /// Its number in the build, from 1: the SSE event id, `Last-Event-ID` resumes after it.
    pub id: u64,
    /// When it happened, RFC 3339 in UTC.
    pub time: String,
    /// What it is.
    pub kind: LogKind,
    /// The phase the build was in.
    pub phase: BuildState,
    /// The step it belongs to; empty for a change of state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub step: String,
    /// A line of output, or the new state.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What of the step is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// What there is to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// `bytes` or `items`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What a log event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogKind {
    /// A line of output.
    Line,
    /// A step moves.
    Step,
    /// The build's state changes.
    State,
}
