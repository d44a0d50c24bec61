//! Dead letters: messages that kiln can't take, kept with the reason.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use kiln_engine::Refused;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::pace;

/// Headers of a dead letter, beside those that the message had.
pub mod header {
    /// The class of the reason, such as `invalid`.
    pub const CLASS: &str = "Kiln-Class";
    /// The reason.
    pub const MESSAGE: &str = "Kiln-Message";
    /// What to do about it.
    pub const REMEDY: &str = "Kiln-Remedy";
    /// The subject the message came by.
    pub const SUBJECT: &str = "Kiln-Subject";
    /// The stream it was in.
    pub const STREAM: &str = "Kiln-Stream";
    /// Its number there.
    pub const SEQUENCE: &str = "Kiln-Sequence";
    /// How often it was delivered.
    pub const DELIVERIES: &str = "Kiln-Deliveries";
    /// The `Nats-Msg-Id` it had.
    pub const MESSAGE_ID: &str = "Kiln-Original-Msg-Id";
    /// `omitted` when the body had to be left out: body and headers together were more than the broker takes.
    pub const BODY: &str = "Kiln-Body";
}

/// The longest value of a header, in bytes.
const LONGEST: usize = 1024;

/// A message that kiln can't take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DeadLetter<'a> {
    pub(crate) subject: &'a str,
    pub(crate) sequence: u64,
    /// When the broker stored it, nanoseconds since the Unix epoch.
    pub(crate) stored: i128,
    pub(crate) deliveries: i64,
    pub(crate) headers: Option<&'a HeaderMap>,
    pub(crate) body: &'a Bytes,
    pub(crate) reason: &'a Refused,
}

impl DeadLetter<'_> {
    fn headers(&self, stream: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in self.headers.into_iter().flat_map(HeaderMap::iter) {
            let text = name.to_string();
            let lower = text.to_ascii_lowercase();
            if lower.starts_with("nats-") || lower.starts_with("kiln-") {
                continue; // the broker would obey the first, the second are kiln's
            }
            for value in values {
                headers.append(name.clone(), value.clone());
            }
        }
        let id = self
            .headers
            .and_then(|headers| headers.get(NATS_MESSAGE_ID));
        if let Some(id) = id {
            headers.insert(header::MESSAGE_ID, one_line(id.as_str()));
        }
        headers.insert(header::CLASS, self.reason.class.as_str());
        headers.insert(header::MESSAGE, one_line(&self.reason.message));
        headers.insert(header::REMEDY, one_line(&self.reason.remedy));
        headers.insert(header::SUBJECT, one_line(self.subject));
        headers.insert(header::STREAM, stream);
        headers.insert(header::SEQUENCE, self.sequence.to_string());
        headers.insert(header::DELIVERIES, self.deliveries.to_string());
        // The same message is one dead letter, however often kiln begins anew with it.
        let id = format!("{stream}-{}-{}", self.sequence, self.stored);
        headers.insert(NATS_MESSAGE_ID, id);
        headers
    }
}

/// Stores a dead letter, trying until the broker confirms it; false when kiln stops before.
pub(crate) async fn bury(
    broker: &Broker,
    letter: DeadLetter<'_>,
    stop: &CancellationToken,
) -> bool {
    let settings = &broker.settings;
    let (sequence, class) = (letter.sequence, letter.reason.class);
    for attempt in 1.. {
        match store(broker, letter).await {
            Ok(()) => {
                warn!(sequence, %class, reason = %letter.reason, "a message of the queue became a dead letter");
                return true;
            }
            Err(error) => warn!(sequence, %error, "a dead letter was not stored yet"),
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pace::pause(settings.retry_delay, attempt)) => {}
        }
    }
    false
}

async fn store(broker: &Broker, letter: DeadLetter<'_>) -> Result<(), PublishError> {
    let mut headers = letter.headers(&broker.settings.stream);
    match publish(broker, headers.clone(), letter.body.clone()).await {
        Err(error) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
            headers.insert(header::BODY, "omitted");
            publish(broker, headers, Bytes::new()).await
        }
        other => other,
    }
}

async fn publish(broker: &Broker, headers: HeaderMap, body: Bytes) -> Result<(), PublishError> {
    let message = PublishMessage::build().headers(headers).payload(body);
    let subject = broker.settings.dead_subject();
    let confirmed = broker.jetstream.send_publish(subject, message).await?;
    confirmed.await.map(drop)
}

/// A text as a header can hold it: without control characters, and short.
fn one_line(text: &str) -> String {
    let end = text.floor_char_boundary(LONGEST);
    text[..end]
        .replace(|letter: char| letter.is_control(), " ")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_reason_stands_beside_what_the_message_had() {
        let mut had = HeaderMap::new();
        had.insert("ce-id", "1");
        had.insert(NATS_MESSAGE_ID, "theirs");
        had.insert("Nats-Expected-Stream", "other");
        had.insert("Kiln-Class", "forged");
        let reason = Refused::invalid("bad\r\nNats-Msg-Id: x", "mend it");
        let letter = DeadLetter {
            subject: "kiln.builds",
            sequence: 7,
            stored: 42,
            deliveries: 2,
            headers: Some(&had),
            body: &Bytes::new(),
            reason: &reason,
        };
        let headers = letter.headers("kiln");
        let value = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(value("ce-id").as_deref(), Some("1"));
        assert_eq!(value(header::CLASS).as_deref(), Some("invalid"));
        assert_eq!(
            value(header::MESSAGE).as_deref(),
            Some("bad  Nats-Msg-Id: x")
        );
        assert_eq!(value(header::REMEDY).as_deref(), Some("mend it"));
        assert_eq!(value(header::DELIVERIES).as_deref(), Some("2"));
        assert_eq!(value(header::SEQUENCE).as_deref(), Some("7"));
        assert_eq!(value(header::MESSAGE_ID).as_deref(), Some("theirs"));
        assert_eq!(value("Nats-Expected-Stream"), None);
        let id = headers.get(NATS_MESSAGE_ID).map(ToString::to_string);
        assert_eq!(id.as_deref(), Some("kiln-7-42"));
    }

    proptest! {
        #[test]
        fn any_text_becomes_a_header(text in any::<String>(), times in 1_usize..100) {
            let line = one_line(&text.repeat(times));
            prop_assert!(line.len() <= LONGEST);
            prop_assert!(!line.contains(char::is_control));
        }
    }
}
