//! Events, and where they go.

use std::fmt;
use std::str::FromStr;

use crate::Scope;
use crate::error::StoreError;

/// What an event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventType {
    /// A build was accepted.
    Queued,
    /// A worker began with it, for the first time.
    Started,
    /// A build is READY.
    Ready,
    /// A build is FAILED.
    Failed,
    /// A build is CANCELLED.
    Cancelled,
    /// An image's base has moved.
    Outdated,
    /// Somebody tries a hook.
    Test,
}

impl EventType {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Started,
        Self::Ready,
        Self::Failed,
        Self::Cancelled,
        Self::Outdated,
        Self::Test,
    ];

    /// Its name: one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Started => "started",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Outdated => "outdated",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no event's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there are no events of the type `{0}`: there are queued, started, ready, failed, cancelled, outdated and test"
)]
pub struct ParseEventTypeError(String);

impl FromStr for EventType {
    type Err = ParseEventTypeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| ParseEventTypeError(text.to_owned()))
    }
}

/// An event; it never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// A UUID of version 7, the id of every message that tells it.
    pub id: String,
    /// The workspace.
    pub scope: Scope,
    /// What it tells.
    pub kind: EventType,
    /// The build it is about, where it is about one.
    pub build_id: Option<String>,
    /// A JSON object. Of a build: `build_id`, `workspace`, `name`, `spec_hash`, `state`, `backend`,
    /// `attempt`, `image`, `generation`, `error`; of an image: `workspace`, `name`, `spec_hash`,
    /// `image`, `generation`, `reason`.
    pub payload: String,
    /// When it happened, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// An event that no change of a row makes.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What it tells.
    pub kind: EventType,
    /// The build it is about, where it is about one.
    pub build_id: Option<String>,
    /// A JSON object.
    pub payload: String,
}

/// Where the events of one build go, beside the workspace's hooks. It holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Callback {
    /// An HTTP address.
    Url(String),
    /// A subject of the queue.
    Subject(String),
}

/// Where one delivery goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A hook, by id.
    Hook(String),
    /// A build's own receiver.
    Callback(Callback),
}

/// An event on its way to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// What is told.
    pub event: EventRow,
    /// To whom.
    pub target: Target,
    /// How often it has been tried, this time included.
    pub attempt: i64,
}

/// How a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryState {
    /// It is tried, or will be.
    Pending,
    /// The target has it.
    Done,
    /// It is tried no more.
    Dead,
}

impl DeliveryState {
    /// Its name: one lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Pending, Self::Done, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(StoreError::Row { what: "delivery" })
    }
}

/// What became of an event at one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The event.
    pub event_id: String,
    /// The target.
    pub target: Target,
    /// How it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempt: i64,
    /// When it is tried next, milliseconds since the Unix epoch.
    pub next_ms: i64,
    /// Why it failed the last time.
    pub last_error: Option<String>,
}

/// Which events are told again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replay {
    /// The one of this id.
    Event(String),
    /// All since then, milliseconds since the Unix epoch.
    Since(i64),
}

/// A subscription to a workspace's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookRow {
    /// A UUID of version 7.
    pub id: String,
    /// The workspace.
    pub scope: Scope,
    /// Where its events are posted to; without credentials.
    pub url: String,
    /// Which events; none stands for all but tests.
    pub types: Vec<EventType>,
    /// Why it gets nothing, where it is disabled.
    pub disabled: Option<String>,
    /// The numbers of its live secrets, newest first.
    pub secrets: Vec<i64>,
    /// Who added it.
    pub actor: String,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A subscription to add.
#[derive(Debug, Clone)]
pub struct NewHook {
    /// Where its events are posted to; without credentials.
    pub url: String,
    /// Which events; none stands for all but tests.
    pub types: Vec<EventType>,
    /// Who adds it.
    pub actor: String,
    /// The secret its messages are signed with.
    pub secret: kiln_spec::Secret,
}
