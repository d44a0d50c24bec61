//! The broker's advisories on messages that were delivered as often as they may: kiln died of them, or lost them on
//! the way. Such a message stays in the stream and is never delivered again.

use std::time::Duration;

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, AckKind};
use futures::StreamExt as _;
use kiln_api::FailureClass;
use kiln_engine::{Refusal, Refused};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::dead::{DeadLetter, bury};
use crate::delivery::Deliveries;
use crate::pace;
use crate::topology::{BoxError, Topology};

/// `io.nats.jetstream.advisory.v1.max_deliver`, as far as kiln needs it.
#[derive(Debug, Deserialize)]
struct Advisory {
    stream_seq: u64,
    deliveries: i64,
}

/// When an advisory is looked at again whose message is being dealt with yet.
const AGAIN: Duration = Duration::from_secs(2);

/// Deals with advisories until the connection or the broker gives up.
pub(crate) async fn follow(work: &Deliveries, topology: &Topology) -> Result<(), BoxError> {
    let mut messages = topology
        .advisories
        .stream()
        .max_messages_per_batch(16)
        .messages()
        .await?;
    while let Some(message) = messages.next().await {
        deal_with(work, topology, message?).await?;
    }
    Ok(())
}

async fn deal_with(
    work: &Deliveries,
    topology: &Topology,
    message: jetstream::Message,
) -> Result<(), BoxError> {
    let advisory: Advisory = match serde_json::from_slice(&message.payload) {
        Ok(advisory) => advisory,
        Err(error) => {
            warn!(%error, "the queue sent an advisory that is none");
            return message.double_ack().await;
        }
    };
    if work.at_work.contains(advisory.stream_seq) {
        // Its last delivery goes on, and that one decides.
        return message.ack_with(AckKind::Nak(Some(AGAIN))).await;
    }
    let (message, acker) = message.split();
    drop(message);
    let done = retire(work, topology, &advisory);
    if pace::with_signs(&acker, Duration::from_secs(30), done).await? {
        acker.double_ack().await?;
    }
    Ok(())
}

/// Makes a dead letter of a message, unless it is gone; false when kiln stops before.
async fn retire(
    work: &Deliveries,
    topology: &Topology,
    advisory: &Advisory,
) -> Result<bool, BoxError> {
    let sequence = advisory.stream_seq;
    let message = match topology.stream.get_raw_message(sequence).await {
        Ok(message) => message,
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => {
            debug!(
                sequence,
                "a message that came too often was dealt with after all"
            );
            return Ok(true);
        }
        Err(error) => return Err(error.into()),
    };
    let reason = Refused {
        refusal: Refusal::Unavailable,
        class: FailureClass::Internal,
        message: format!(
            "it was delivered {} times and kiln never finished with it",
            advisory.deliveries
        ),
        remedy:
            "look for its number in kiln's log of that time; send it again when the cause is gone"
                .to_owned(),
    };
    let letter = DeadLetter {
        subject: &message.subject,
        sequence,
        stored: message.time.unix_timestamp_nanos(),
        deliveries: advisory.deliveries,
        headers: Some(&message.headers),
        body: &message.payload,
        reason: &reason,
    };
    if !bury(&work.broker, letter, &work.stop).await {
        return Ok(false);
    }
    if !topology.keeps_messages()
        && let Err(error) = topology.stream.delete_message(sequence).await
    {
        warn!(sequence, %error, "a dead letter's message stays in the stream of requests");
    }
    Ok(true)
}
