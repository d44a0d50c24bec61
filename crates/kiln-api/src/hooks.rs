//! Bodies of `/v1/hooks`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A subscription to a workspace's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hook {
    /// Its id.
    pub id: String,
    /// The workspace.
    pub workspace: String,
    /// Where its events are posted to.
    pub url: String,
    /// Which events: `queued`, `started`, `ready`, `failed`, `cancelled`, `outdated`; empty is all.
    pub types: Vec<String>,
    /// Why it gets nothing, where it is disabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<String>,
    /// The numbers of its live secrets, newest first.
    pub secrets: Vec<i64>,
    /// Its secret, `whsec_...`; only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// The hooks of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookList {
    /// Oldest first.
    pub value: Vec<Hook>,
}

/// The body of `POST /v1/hooks`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHookRequest {
    /// An http or https address without credentials.
    pub url: String,
    /// Which events; empty is all.
    #[serde(default)]
    pub types: Vec<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// A secret that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HookSecret {
    /// Its number.
    pub number: i64,
    /// `whsec_...`; told once.
    pub secret: String,
}

/// The body of `POST /v1/hooks/{id}/replay`: one of both.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// The id of an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// All events since then, seconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
}

/// What a replay sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayReport {
    /// How many events are on their way.
    pub events: u64,
}

/// What the notification of a registry changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegistryReport {
    /// Images that are outdated now and were not.
    pub outdated: u64,
    /// Refreshes that were accepted.
    pub refreshed: u64,
    /// Images that are known to be lost now and were not.
    pub lost: u64,
}
