//! One delivery of a request, from its arrival to its acknowledgement.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::{self, AckKind};
use kiln_engine::{Intake, Refused};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::broker::Broker;
use crate::dead::{DeadLetter, bury};
use crate::event;
use crate::pace;

/// The first pause before an acknowledgement is sent again.
const ACK_AGAIN: Duration = Duration::from_millis(250);
/// How long an acknowledgement is sent: when nobody confirms it for so long, the consumer is gone.
const ACK_FOR: Duration = Duration::from_mins(10);

/// Deals with deliveries.
#[derive(Clone)]
pub(crate) struct Deliveries {
    pub(crate) broker: Broker,
    pub(crate) intake: Arc<dyn Intake>,
    pub(crate) stop: CancellationToken,
    pub(crate) at_work: AtWork,
}

/// What is to become of a delivery.
enum Verdict {
    /// Its build is committed.
    Taken,
    /// It never can be taken, or was tried often enough.
    Dead(Refused),
    /// It comes again after a pause.
    Later(Duration),
}

impl Deliveries {
    /// Deals with one delivery; it is acknowledged when nothing can be lost any more.
    pub(crate) async fn deal_with(&self, message: jetstream::Message) {
        let (sequence, stored, deliveries) = match message.info() {
            Ok(info) => (
                info.stream_sequence,
                info.published.unix_timestamp_nanos(),
                info.delivered,
            ),
            Err(error) => {
                warn!(%error, "the queue sent something that is no delivery");
                return;
            }
        };
        let _guard = self.at_work.enter(sequence);
        let reply = message.reply.clone();
        let (message, acker) = message.split();
        let ack_wait = self.broker.settings.ack_wait;
        let work = async {
            match self.judge(&message, deliveries).await {
                Verdict::Taken => Some(AckKind::Ack),
                Verdict::Later(pause) => Some(AckKind::Nak(Some(pause))),
                Verdict::Dead(reason) => {
                    let letter = DeadLetter {
                        subject: &message.subject,
                        sequence,
                        stored,
                        deliveries,
                        headers: message.headers.as_ref(),
                        body: &message.payload,
                        reason: &reason,
                    };
                    let buried = bury(&self.broker, letter, &self.stop).await;
                    buried.then_some(AckKind::Term)
                }
            }
        };
        let answer = pace::with_signs(&acker, ack_wait, work).await;
        if let (Some(answer), Some(reply)) = (answer, reply) {
            self.acknowledge(&reply, answer, sequence).await;
        }
    }

    async fn judge(&self, message: &async_nats::Message, deliveries: i64) -> Verdict {
        let settings = &self.broker.settings;
        let request = match event::read(settings, message.headers.as_ref(), &message.payload) {
            Ok(request) => request,
            Err(refused) => return Verdict::Dead(refused),
        };
        let last = deliveries >= i64::from(settings.max_deliver);
        let until = Instant::now() + settings.retry_for;
        let mut attempt = 1;
        loop {
            let refused = match self.intake.accept(request.clone()).await {
                Ok(accepted) => {
                    let build = accepted.status.build_id;
                    info!(
                        id = request.id,
                        source = request.source,
                        build,
                        "took a message of the queue"
                    );
                    return Verdict::Taken;
                }
                Err(refused) => refused,
            };
            if !refused.is_retryable() {
                return Verdict::Dead(refused);
            }
            debug!(id = request.id, %refused, attempt, "a message of the queue has to wait");
            let pause = pace::pause(settings.retry_delay, attempt);
            let over = Instant::now() + pause > until || self.stop.is_cancelled();
            if over && last {
                return Verdict::Dead(refused);
            }
            if over {
                let deliveries = u32::try_from(deliveries).unwrap_or(u32::MAX);
                return Verdict::Later(pace::pause(settings.retry_delay, deliveries));
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(pause) => attempt += 1,
            }
        }
    }

    /// Sends an acknowledgement until the broker confirms it: one that is lost would bring the message again, and a
    /// message that was taken would become a dead letter in the end.
    async fn acknowledge(&self, reply: &Subject, answer: AckKind, sequence: u64) {
        let until = Instant::now() + ACK_FOR;
        for attempt in 1.. {
            // The client's own confirmed acknowledgement takes "nobody is there" for a confirmation.
            let confirmed = self.broker.client.request(reply.clone(), answer.into());
            match confirmed.await {
                Ok(_) => return,
                Err(error) => debug!(sequence, %error, "an acknowledgement was not confirmed"),
            }
            if self.stop.is_cancelled() || Instant::now() > until {
                break;
            }
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(pace::pause(ACK_AGAIN, attempt)) => {}
            }
        }
        warn!(
            sequence,
            "the queue did not confirm an acknowledgement; the message comes again"
        );
    }
}

/// The numbers of messages that are being dealt with.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<HashMap<u64, u32>>>);

/// Notes that a message is being dealt with, until it is dropped.
#[derive(Debug)]
pub(crate) struct Guard(AtWork, u64);

impl AtWork {
    fn enter(&self, sequence: u64) -> Guard {
        let mut numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers.entry(sequence).or_default() += 1;
        Guard(self.clone(), sequence)
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        let numbers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.contains_key(&sequence)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let mut numbers = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut count) = numbers.entry(self.1) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_at_work_until_its_last_delivery_is_done() {
        let at_work = AtWork::default();
        let first = at_work.enter(7);
        let second = at_work.enter(7);
        drop(first);
        assert!(at_work.contains(7));
        drop(second);
        assert!(!at_work.contains(7));
    }
}
