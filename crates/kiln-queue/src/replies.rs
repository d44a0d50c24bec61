//! Events to the subjects that requests named.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use bytes::Bytes;
use kiln_engine::{ReplyError, ReplyPublisher};

use crate::broker::Broker;
use crate::subject;

/// Publishes events to subjects below the setting's prefix.
#[derive(Debug, Clone)]
pub struct Replies {
    broker: Broker,
}

impl Broker {
    /// What publishes events through this connection.
    pub fn replies(&self) -> Replies {
        Replies {
            broker: self.clone(),
        }
    }
}

#[async_trait]
impl ReplyPublisher for Replies {
    async fn publish(
        &self,
        subject: &str,
        event: Bytes,
        message_id: &str,
    ) -> Result<(), ReplyError> {
        let settings = &self.broker.settings;
        let forbidden = |reason: String| ReplyError::Forbidden {
            subject: subject.to_owned(),
            reason,
        };
        if let Some(reason) = subject::reply_fault(settings.reply_prefix.as_deref(), subject) {
            return Err(forbidden(reason));
        }
        if message_id.contains(char::is_control) {
            return Err(forbidden(
                "the event's id has control characters".to_owned(),
            ));
        }
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/cloudevents+json");
        // The broker knows ids by stream, and one event may go to several subjects of it.
        headers.insert(NATS_MESSAGE_ID, format!("{message_id} {subject}"));
        let message = PublishMessage::build().headers(headers).payload(event);
        let jetstream = &self.broker.jetstream;
        let sent = jetstream.send_publish(subject.to_owned(), message).await;
        let stored = match sent {
            Ok(confirmed) => confirmed.await,
            Err(error) => Err(error),
        };
        stored.map(drop).map_err(|error| ReplyError::Unavailable {
            subject: subject.to_owned(),
            source: Box::new(error),
        })
    }
}
