//! Requests that arrive as messages, from a webhook or a queue, and the events that go back to a queue.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use kiln_api::{BuildStatus, Failure, FailureClass};
use kiln_store::Callback;

use crate::error::EngineError;
use crate::submission::Origin;

/// Takes messages. [`Intake::accept`] may be called any number of times with the same message, also at once.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Takes a message; when this returns `Ok` the build and the message's id are committed.
    ///
    /// A message of the same source, id and body as an earlier one gets the earlier one's build, as it is now.
    async fn accept(&self, message: Message) -> Result<Accepted, Refused>;
}

/// A request for a build that arrived as a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Unique within the source: a second message of the same id is the same message.
    pub id: String,
    /// Who numbers the messages: a CloudEvent's `source`, or the name of a webhook.
    pub source: String,
    /// Who asked, and which way.
    pub origin: Origin,
    /// The body of `POST /v1/builds`, in JSON, as it came.
    pub body: Bytes,
    /// Where the build's events go, beside the workspace's hooks.
    pub reply_to: Option<Callback>,
}

impl fmt::Debug for Message {
    /// Leaves the body out, since it may hold credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("origin", &self.origin)
            .field("body_bytes", &self.body.len())
            .field("reply_to", &self.reply_to)
            .finish()
    }
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// The build it started or joined, or the answer that was known.
    pub status: BuildStatus,
}

/// Why a message was not taken, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The message itself is at fault.
    Invalid,
    /// A message of the same source and id had another body.
    Conflict,
    /// Too many builds wait.
    Busy,
    /// kiln, or what it runs on, can't take anything now.
    Unavailable,
}

impl Refusal {
    /// Whether the same message can be taken later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Busy | Self::Unavailable)
    }
}

/// A message that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refused {
    /// What kind of refusal it is.
    pub refusal: Refusal,
    /// The class in the words of the API.
    pub class: FailureClass,
    /// What is wrong; without credentials.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl Refused {
    /// A message that never can be taken.
    pub fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            refusal: Refusal::Invalid,
            class: FailureClass::Invalid,
            message: message.into(),
            remedy: remedy.into(),
        }
    }

    /// Whether the same message can be taken later.
    pub const fn is_retryable(&self) -> bool {
        self.refusal.is_retryable()
    }
}

impl From<&EngineError> for Refused {
    fn from(error: &EngineError) -> Self {
        let Failure {
            class,
            message,
            remedy,
            retryable,
            ..
        } = error.failure();
        let refusal = match error {
            EngineError::Conflict => Refusal::Conflict,
            EngineError::Full { .. } => Refusal::Busy,
            EngineError::Store(_) | EngineError::Data(_) | EngineError::Stopping => {
                Refusal::Unavailable
            }
            EngineError::Failed(_) if retryable => Refusal::Unavailable,
            EngineError::Invalid { .. }
            | EngineError::Spec(_)
            | EngineError::NotFound { .. }
            | EngineError::VersionTaken { .. }
            | EngineError::WheelTaken { .. }
            | EngineError::Failed(_) => Refusal::Invalid,
        };
        Self {
            refusal,
            class,
            message,
            remedy,
        }
    }
}

/// Publishes events to subjects of a queue; the outbox calls it for [`Callback::Subject`].
#[async_trait]
pub trait ReplyPublisher: Send + Sync {
    /// Publishes one event, a CloudEvent in structured JSON; when this returns `Ok` the queue has stored it.
    ///
    /// The queue drops a second event of the same `message_id`, so an outcome that is not known may be tried again.
    async fn publish(
        &self,
        subject: &str,
        event: Bytes,
        message_id: &str,
    ) -> Result<(), ReplyError>;
}

/// An event that did not reach its subject.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// Replies to this subject are not allowed, or it is no subject; trying again changes nothing.
    #[error("events may not be published to `{subject}`: {reason}")]
    Forbidden {
        /// The subject, as it was given.
        subject: String,
        /// Why not.
        reason: String,
    },
    /// The queue did not confirm the event.
    #[error("the queue did not take an event for `{subject}`")]
    Unavailable {
        /// The subject.
        subject: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ReplyError {
    /// Whether the same event can be published later.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_by_itself_is_retryable_and_the_rest_is_not() {
        let full = EngineError::Full {
            queued: 3,
            in_scope: true,
        };
        let failed = |class| EngineError::Failed(Failure::new(class, "m", "r"));
        let table = [
            (full, Refusal::Busy),
            (EngineError::Stopping, Refusal::Unavailable),
            (EngineError::Conflict, Refusal::Conflict),
            (failed(FailureClass::Disk), Refusal::Unavailable),
            (failed(FailureClass::Auth), Refusal::Invalid),
            (EngineError::NotFound { what: "x".into() }, Refusal::Invalid),
        ];
        for (error, refusal) in table {
            let refused = Refused::from(&error);
            assert_eq!(refused.refusal, refusal, "{error}");
            assert_eq!(
                refused.is_retryable(),
                matches!(refusal, Refusal::Busy | Refusal::Unavailable)
            );
            assert!(!refused.remedy.is_empty(), "{error}");
        }
    }

    #[test]
    fn a_message_prints_without_its_body() {
        let message = Message {
            id: "1".into(),
            source: "s".into(),
            origin: Origin {
                actor: "a".into(),
                via: "queue".into(),
            },
            body: Bytes::from_static(b"{\"conda\":\"hunter2\"}"),
            reply_to: None,
        };
        assert!(!format!("{message:?}").contains("hunter2"));
    }
}
