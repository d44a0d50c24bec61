//! Builds.

use std::time::Duration;

use kiln_oci::Digest;
use kiln_spec::SpecHash;

use crate::Scope;
use crate::rows::{Callback, NewImage, RequestKey};

/// A build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildRow {
    /// A UUID of version 7: later builds have greater ids.
    pub id: String,
    /// The workspace.
    pub scope: Scope,
    /// What is built.
    pub spec_hash: SpecHash,
    /// `QUEUED`, `RESOLVING`, `BUILDING`, `PUSHING`, `READY`, `FAILED` or `CANCELLED`.
    pub state: String,
    /// Rises whenever the build changes hands; a write with an older one changes nothing.
    pub fence: i64,
    /// How often it was begun.
    pub attempt: i64,
    /// How often the process that worked on it was lost.
    pub crashes: i64,
    /// `HOST[/PREFIX]/azureml/azureml_<hash>`.
    pub repository: String,
    /// The backend that builds.
    pub backend: String,
    /// Whether it resolves anew although there is a lock.
    pub refresh: bool,
    /// The hash of its lock, once there is one.
    pub lock_hash: Option<String>,
    /// The image, once it is READY.
    pub digest: Option<Digest>,
    /// The image's generation, once it is READY.
    pub generation: Option<u64>,
    /// Why it failed, as JSON; of a build that is tried again, why it failed the last time.
    pub failure_json: Option<String>,
    /// Who asked.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

impl BuildRow {
    /// Whether it is over: READY, FAILED or CANCELLED.
    pub fn is_over(&self) -> bool {
        ["READY", "FAILED", "CANCELLED"].contains(&self.state.as_str())
    }
}

/// A build to begin.
#[derive(Debug, Clone)]
pub struct NewBuild {
    /// The definition's canonical JSON.
    pub canonical: String,
    /// Where the image goes.
    pub repository: String,
    /// The backend that builds.
    pub backend: String,
    /// Whether it resolves anew although there is a lock.
    pub refresh: bool,
    /// Who asked.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// What else is decided and written with its row.
    pub terms: Terms,
}

/// What is decided and written in the transaction that accepts a build.
#[derive(Debug, Clone, Default)]
pub struct Terms {
    /// Builds that may wait for a worker, over all workspaces; none is no bound.
    pub queue_bound: Option<u64>,
    /// Builds of the same workspace that may wait for a worker; none is no bound.
    pub scope_bound: Option<u64>,
    /// The name under which the same request may come again.
    pub request: Option<RequestKey>,
    /// Who is told what becomes of the build, beside the workspace's hooks; of one that is joined,
    /// from now on.
    pub callbacks: Vec<Callback>,
}

/// What came of a build to begin.
#[derive(Debug, Clone)]
pub enum Started {
    /// It is this new build.
    New(BuildRow),
    /// Another one of the same definition is active.
    Joined(BuildRow),
    /// The request was answered before, with this: a build's id, or what
    /// [`Requests::answer`](crate::Requests::answer) kept.
    Repeated(String),
    /// Another request came under the same key; nothing was written.
    Conflict,
    /// Too many wait already; nothing was written.
    Full {
        /// How many builds wait.
        queued: u64,
        /// Whether it is the workspace's own bound that is reached.
        in_scope: bool,
    },
}

/// A build that a worker holds for as long as its lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedBuild {
    /// The build; its fence is the worker's.
    pub build: BuildRow,
    /// The definition's canonical JSON.
    pub canonical: String,
    /// The time since it was first claimed, over all attempts; it begins anew when the machine does.
    pub spent: Duration,
    /// What an earlier attempt was about to push, or pushed.
    pub pushed: Option<NewImage>,
}

/// How long a failure is remembered, and for which settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remember {
    /// The key of the settings under which it failed.
    pub settings: String,
    /// The failure's class.
    pub class: String,
    /// For how long.
    pub lasts: Duration,
}

/// A failure that asking again would only repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RememberedFailure {
    /// The failure, as JSON.
    pub failure_json: String,
    /// Its class.
    pub class: String,
    /// The build that met it.
    pub build_id: Option<String>,
    /// Until when, milliseconds since the Unix epoch.
    pub until_ms: i64,
}
