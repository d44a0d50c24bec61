//! Events on their way to hooks, callbacks and reply subjects: from the outbox, signed, tried again
//! for days.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use kiln_engine::{Callback, Engine, ReplyPublisher};
use kiln_events::{CloudEvent, Signature, SigningSecret, event_type};
use kiln_store::{Delivery, EventRow, StoreError, Target};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

use super::egress::{Egress, EgressError};

/// Deliveries that are on their way at once.
const AT_ONCE: usize = 16;
/// Who does not say what came of a delivery in this time sees it due again.
const HOLD: Duration = Duration::from_mins(2);
/// The longest sleep between two looks at the outbox.
const LONGEST_SLEEP: Duration = Duration::from_secs(15);
/// The waits before the second, third, ... attempt, before jitter (Standard Webhooks' schedule).
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
    Duration::from_hours(5),
    Duration::from_hours(10),
    Duration::from_hours(14),
    Duration::from_hours(20),
    Duration::from_hours(24),
];

/// The longest wait between two attempts to publish to a queue.
const QUEUE_WAIT: Duration = Duration::from_mins(1);
/// Attempts to publish to a queue: three days of them.
const QUEUE_ATTEMPTS: usize = 3 * 24 * 60;

/// Delivers events until kiln stops.
pub async fn deliver_events(
    engine: Engine,
    egress: Egress,
    callback_secrets: Vec<SigningSecret>,
    replies: Option<Arc<dyn ReplyPublisher>>,
) {
    let deliverer = Deliverer {
        engine,
        egress,
        callback_secrets,
        replies,
    };
    loop {
        let sleep = match deliverer.round().await {
            Ok(sleep) => sleep,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read");
                Duration::from_secs(1)
            }
        };
        if !deliverer.engine.events_written(sleep).await {
            return;
        }
    }
}

struct Deliverer {
    engine: Engine,
    egress: Egress,
    callback_secrets: Vec<SigningSecret>,
    replies: Option<Arc<dyn ReplyPublisher>>,
}

/// What came of an attempt.
enum Attempt {
    Done,
    /// The receiver wants nothing any more (410).
    Gone,
    Failed {
        error: String,
        retryable: bool,
    },
}

impl Deliverer {
    /// Delivers all that is due, and answers when to look again.
    async fn round(&self) -> Result<Duration, StoreError> {
        let records = self.engine.store().records();
        loop {
            let due = records
                .due_deliveries(u32::try_from(AT_ONCE).unwrap_or(1), HOLD)
                .await?;
            if due.is_empty() {
                let next = records.next_delivery().await?;
                return Ok(next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP));
            }
            futures::stream::iter(due)
                .for_each_concurrent(AT_ONCE, |delivery| async move {
                    if let Err(error) = self.deliver(&delivery).await {
                        // It is due again when its hold is over.
                        tracing::warn!(%error, event = %delivery.event.id, "the end of a delivery could not be recorded");
                    }
                })
                .await;
        }
    }

    async fn deliver(&self, delivery: &Delivery) -> Result<(), StoreError> {
        let records = self.engine.store().records();
        let event = &delivery.event;
        match self.attempt(delivery).await? {
            Attempt::Done => records.delivery_done(&event.id, &delivery.target).await,
            Attempt::Gone => {
                if let Target::Hook(id) = &delivery.target {
                    tracing::info!(hook = %id, "a hook is disabled: its receiver answered 410");
                    records
                        .disable_hook(id, "the receiver answered 410")
                        .await?;
                }
                let error = "the receiver answered 410";
                records
                    .delivery_failed(delivery, None, error)
                    .await
                    .map(drop)
            }
            Attempt::Failed { error, retryable } => {
                let again = wait(&delivery.target, delivery.attempt).filter(|_| retryable);
                tracing::debug!(event = %event.id, attempt = delivery.attempt, "an event was not delivered: {error}");
                records
                    .delivery_failed(delivery, again, &error)
                    .await
                    .map(drop)
            }
        }
    }

    async fn attempt(&self, delivery: &Delivery) -> Result<Attempt, StoreError> {
        let records = self.engine.store().records();
        let body: Bytes = cloud_event(&delivery.event).to_json().into();
        let (address, secrets) = match &delivery.target {
            Target::Callback(Callback::Subject(subject)) => {
                return Ok(self.reply(subject, body, &delivery.event.id).await);
            }
            Target::Callback(Callback::Url(address)) => {
                (address.clone(), self.callback_secrets.clone())
            }
            Target::Hook(id) => {
                let Some(hook) = records.hook(id).await? else {
                    return Ok(Attempt::Gone);
                };
                let secrets = records.hook_secrets(id).await?;
                let secrets = secrets
                    .iter()
                    .filter_map(|secret| SigningSecret::parse(secret.expose()).ok())
                    .collect();
                (hook.url, secrets)
            }
        };
        let Ok(url) = Url::parse(&address) else {
            return Ok(Attempt::Failed {
                error: "the address is not usable".into(),
                retryable: false,
            });
        };
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let signature = Signature::of(&secrets, &delivery.event.id, now, &body);
        Ok(
            match self.egress.post(&url, signature.headers(), body).await {
                Ok(()) => Attempt::Done,
                Err(EgressError::Status(status)) if status == http::StatusCode::GONE => {
                    Attempt::Gone
                }
                Err(error) => Attempt::Failed {
                    retryable: !matches!(error, EgressError::Forbidden(_)),
                    error: error.to_string(),
                },
            },
        )
    }

    async fn reply(&self, subject: &str, body: Bytes, id: &str) -> Attempt {
        let Some(replies) = &self.replies else {
            return Attempt::Failed {
                error: "kiln has no queue now".into(),
                retryable: true,
            };
        };
        // A subject has one message of an event, whatever else is told of it.
        let message_id = format!("{id}:{subject}");
        match replies.publish(subject, body, &message_id).await {
            Ok(()) => Attempt::Done,
            Err(error) => Attempt::Failed {
                retryable: error.is_retryable(),
                error: error.to_string(),
            },
        }
    }
}

/// The wait after an attempt, with a fifth of it as jitter; none after the last.
fn wait(target: &Target, attempt: i64) -> Option<Duration> {
    let index = usize::try_from(attempt.saturating_sub(1)).ok()?;
    let wait = match target {
        // A broker that is away comes back: there is nobody to spare.
        Target::Callback(Callback::Subject(_)) if index < QUEUE_ATTEMPTS => {
            QUEUE_WAIT.min(Duration::from_secs(1 << index.min(6)))
        }
        Target::Callback(Callback::Subject(_)) => return None,
        _ => *WAITS.get(index)?,
    };
    let jitter = f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 255.0;
    Some(wait.mul_f64(0.8 + 0.4 * jitter))
}

fn cloud_event(event: &EventRow) -> CloudEvent {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(event.created_ms) * 1_000_000);
    CloudEvent {
        id: event.id.clone(),
        source: format!("/workspaces/{}", event.scope),
        kind: event_type(event.kind.as_str()),
        subject: event.build_id.clone(),
        time: time.ok().and_then(|time| time.format(&Rfc3339).ok()),
        extensions: std::collections::BTreeMap::new(),
        data: Some(event.payload.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_spread_over_three_days_and_then_end() {
        let hook = Target::Hook("h".into());
        let mut all = Duration::ZERO;
        for attempt in 1..=9 {
            let wait = wait(&hook, attempt).unwrap();
            assert!(wait >= WAITS[usize::try_from(attempt).unwrap() - 1].mul_f64(0.8));
            all += wait;
        }
        assert!(all > Duration::from_hours(48), "{all:?}");
        assert_eq!(wait(&hook, 10), None);
        let subject = Target::Callback(Callback::Subject("s".into()));
        assert!(wait(&subject, 1).unwrap() < Duration::from_secs(2));
        assert!(wait(&subject, 100).unwrap() < Duration::from_mins(2));
        assert_eq!(wait(&subject, 5000), None);
    }
}
