//! Requests that may come more than once.

use std::time::Duration;

use kiln_oci::Digest;

use super::{Callback, EventType, NewEvent};
use crate::Scope;
use crate::clock::millis;

/// How long an idempotency key is kept.
const KEEP_IDEMPOTENCY_KEY: Duration = Duration::from_hours(24);
/// How long a message's id is kept.
const KEEP_MESSAGE: Duration = Duration::from_hours(7 * 24);

/// The name under which a request may come again, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestKey {
    space: String,
    key: String,
    body: Digest,
    keep: Duration,
}

/// The answer to a request that began no build.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The name under which the request may come again.
    pub request: Option<RequestKey>,
    /// The build that runs, or that made what is known.
    pub build_id: Option<String>,
    /// Where the request wants to hear of the end.
    pub callbacks: Vec<Callback>,
    /// The end, when it is known; otherwise it is the build's.
    pub known: Option<NewEvent>,
}

/// What tells a build's end.
pub(crate) fn end_of(state: &str) -> Option<EventType> {
    match state {
        "READY" => Some(EventType::Ready),
        "FAILED" => Some(EventType::Failed),
        "CANCELLED" => Some(EventType::Cancelled),
        _ => None,
    }
}

impl RequestKey {
    /// An `Idempotency-Key` of a workspace's caller, kept for 24 hours.
    pub fn idempotency(scope: &Scope, key: &str, body: Digest) -> Self {
        Self {
            space: format!("key {scope}"),
            key: key.to_owned(),
            body,
            keep: KEEP_IDEMPOTENCY_KEY,
        }
    }

    /// A message of a webhook's source or a queue, kept for 7 days.
    pub fn message(source: &str, id: &str, body: Digest) -> Self {
        Self {
            space: format!("message {source}"),
            key: id.to_owned(),
            body,
            keep: KEEP_MESSAGE,
        }
    }

    pub(crate) fn space(&self) -> &str {
        &self.space
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn body(&self) -> String {
        self.body.to_hex()
    }

    pub(crate) fn until_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(millis(self.keep))
    }
}

/// Whether a request came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// It did not.
    New,
    /// It did, and was answered with this.
    Same(String),
    /// Another body came under the same key.
    Conflict,
}
