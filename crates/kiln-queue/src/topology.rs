//! The streams and consumers that kiln uses: made where they are absent, checked where they are not.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, ConsumerErrorKind, DiscardPolicy, RetentionPolicy, StorageType, Stream,
};
use async_nats::jetstream::{Context, ErrorCode};
use tracing::info;

use crate::settings::QueueSettings;
use crate::subject;

/// For how long the broker knows the ids of requests.
const REQUEST_IDS: Duration = Duration::from_mins(10);
/// For how long the broker knows the ids of replies and dead letters.
const OWN_IDS: Duration = Duration::from_hours(2);
/// How long replies are kept.
const REPLIES: Duration = Duration::from_hours(7 * 24);
/// How long dead letters are kept.
const DEAD_LETTERS: Duration = Duration::from_hours(30 * 24);
/// How many advisories are kept.
const ADVISORIES: i64 = 100_000;

/// Why the queue can't be used as it is.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// It is there, and not as kiln needs it.
    #[error("the {what} `{name}` is not as kiln needs it: {}", faults.join("; "))]
    Misfit {
        /// `stream` or `consumer`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong, each with what it must be.
        faults: Vec<String>,
    },
    /// It can't be made because its subjects belong to another stream.
    #[error(
        "the stream `{name}` can't be made: another stream stores `{subject}`; change the settings or that stream"
    )]
    Taken {
        /// The stream's name.
        name: String,
        /// The subjects.
        subject: String,
    },
    /// The broker refuses, or does not answer.
    #[error("the {what} `{name}` can't be looked up or made")]
    Broker {
        /// `stream` or `consumer`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What the broker says.
        #[source]
        source: BoxError,
    },
}

/// An error of the broker's client.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the queue works with.
#[derive(Debug)]
pub(crate) struct Topology {
    pub(crate) stream: Stream,
    pub(crate) requests: Consumer<pull::Config>,
    pub(crate) advisories: Consumer<pull::Config>,
}

impl Topology {
    /// Whether a message stays in the stream when kiln is done with it.
    pub(crate) fn keeps_messages(&self) -> bool {
        self.stream.cached_info().config.retention == RetentionPolicy::Limits
    }
}

/// Makes or checks everything.
pub(crate) async fn ensure(
    jetstream: &Context,
    settings: &QueueSettings,
) -> Result<Topology, TopologyError> {
    ensure_stream(jetstream, dead_letters(settings)).await?;
    match ensure_results(jetstream, settings).await {
        // An operator's own stream that stores the replies is as good.
        Err(TopologyError::Taken { .. }) => info!("another stream stores the queue's replies"),
        other => other?,
    }
    // Before the requests' consumer, or its first advisories could be missed.
    let advisories = ensure_stream(jetstream, advisories(settings)).await?;
    let advisories = ensure_consumer(&advisories, advisory_consumer(settings)).await?;
    let stream = ensure_stream(jetstream, requests(settings)).await?;
    let requests = ensure_consumer(&stream, request_consumer(settings)).await?;
    Ok(Topology {
        stream,
        requests,
        advisories,
    })
}

async fn ensure_results(
    jetstream: &Context,
    settings: &QueueSettings,
) -> Result<(), TopologyError> {
    if let Some(config) = results(settings) {
        ensure_stream(jetstream, config).await?;
    }
    Ok(())
}

async fn ensure_stream(jetstream: &Context, wanted: Config) -> Result<Stream, TopologyError> {
    let stream = jetstream
        .get_or_create_stream(wanted.clone())
        .await
        .map_err(|error| match error.kind() {
            CreateStreamErrorKind::JetStream(fault)
                if fault.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP =>
            {
                TopologyError::Taken {
                    name: wanted.name.clone(),
                    subject: wanted.subjects.join(", "),
                }
            }
            _ => TopologyError::Broker {
                what: "stream",
                name: wanted.name.clone(),
                source: Box::new(error),
            },
        })?;
    let faults = stream_faults(&wanted, &stream.cached_info().config);
    if !faults.is_empty() {
        return Err(TopologyError::Misfit {
            what: "stream",
            name: wanted.name,
            faults,
        });
    }
    Ok(stream)
}

async fn ensure_consumer(
    stream: &Stream,
    wanted: pull::Config,
) -> Result<Consumer<pull::Config>, TopologyError> {
    let name = wanted.durable_name.clone().unwrap_or_default();
    let broker = |source: BoxError| TopologyError::Broker {
        what: "consumer",
        name: name.clone(),
        source,
    };
    let misfit = |faults| TopologyError::Misfit {
        what: "consumer",
        name: name.clone(),
        faults,
    };
    let consumer = stream
        .get_or_create_consumer(&name, wanted.clone())
        .await
        .map_err(|error| match error.kind() {
            ConsumerErrorKind::InvalidConsumerType => {
                misfit(vec!["it pushes, it must be pulled from".to_owned()])
            }
            _ => broker(Box::new(error)),
        })?;
    let found = &consumer.cached_info().config;
    let faults = consumer_faults(&wanted, found);
    if !faults.is_empty() {
        return Err(misfit(faults));
    }
    let same = found.ack_wait == wanted.ack_wait
        && found.max_deliver == wanted.max_deliver
        && found.max_ack_pending == wanted.max_ack_pending;
    if same {
        return Ok(consumer);
    }
    info!(
        consumer = name,
        "the consumer of the queue gets kiln's settings"
    );
    stream
        .create_consumer(wanted)
        .await
        .map_err(|error| broker(Box::new(error)))
}

fn stream_config(settings: &QueueSettings, name: String, subject: String) -> Config {
    Config {
        name,
        subjects: vec![subject],
        storage: StorageType::File,
        num_replicas: usize::from(settings.replicas),
        ..Config::default()
    }
}

/// Requests leave the stream when they are dealt with, and a full stream refuses new ones rather than lose old ones.
fn requests(settings: &QueueSettings) -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        duplicate_window: REQUEST_IDS,
        ..stream_config(settings, settings.stream.clone(), settings.subject.clone())
    }
}

fn dead_letters(settings: &QueueSettings) -> Config {
    Config {
        max_age: DEAD_LETTERS,
        duplicate_window: OWN_IDS,
        ..stream_config(settings, settings.dead_stream(), settings.dead_subject())
    }
}

fn results(settings: &QueueSettings) -> Option<Config> {
    Some(Config {
        max_age: REPLIES,
        duplicate_window: OWN_IDS,
        ..stream_config(
            settings,
            settings.results_stream(),
            settings.results_filter()?,
        )
    })
}

fn advisories(settings: &QueueSettings) -> Config {
    Config {
        retention: RetentionPolicy::WorkQueue,
        max_messages: ADVISORIES,
        ..stream_config(
            settings,
            settings.advisory_stream(),
            settings.advisory_subject(),
        )
    }
}

fn request_consumer(settings: &QueueSettings) -> pull::Config {
    pull::Config {
        durable_name: Some(settings.consumer.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: settings.ack_wait,
        max_deliver: i64::from(settings.max_deliver),
        max_ack_pending: i64::from(settings.max_ack_pending),
        filter_subject: settings.subject.clone(),
        ..pull::Config::default()
    }
}

fn advisory_consumer(settings: &QueueSettings) -> pull::Config {
    pull::Config {
        durable_name: Some(settings.consumer.clone()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: Duration::from_secs(30),
        max_deliver: -1,
        max_ack_pending: 64,
        filter_subject: settings.advisory_subject(),
        ..pull::Config::default()
    }
}

/// What of a stream is not as it must be for nothing to be lost.
fn stream_faults(wanted: &Config, found: &Config) -> Vec<String> {
    let mut faults = Vec::new();
    for subject in &wanted.subjects {
        if !found
            .subjects
            .iter()
            .any(|own| subject::covers(own, subject))
        {
            faults.push(format!("it does not store `{subject}`"));
        }
    }
    if found.storage != StorageType::File {
        faults.push("its storage is memory, it must be file".to_owned());
    }
    if found.no_ack {
        faults.push("it confirms nothing (`no_ack`), it must".to_owned());
    }
    if found.sealed {
        faults.push("it is sealed, it must take messages".to_owned());
    }
    faults
}

/// What of a consumer can't be changed in place and is not as it must be.
fn consumer_faults(
    wanted: &pull::Config,
    found: &async_nats::jetstream::consumer::Config,
) -> Vec<String> {
    let mut faults = Vec::new();
    if found.ack_policy != AckPolicy::Explicit {
        faults.push("its acknowledgement policy must be explicit".to_owned());
    }
    if found.filter_subject != wanted.filter_subject {
        faults.push(format!(
            "its filter is `{}`, it must be `{}`",
            found.filter_subject, wanted.filter_subject
        ));
    }
    if found.deliver_policy != DeliverPolicy::All {
        faults.push("its deliver policy must be all".to_owned());
    }
    if found.replay_policy != ReplayPolicy::Instant {
        faults.push("its replay policy must be instant".to_owned());
    }
    if found.headers_only {
        faults.push("it delivers headers only, it must deliver all".to_owned());
    }
    if found.memory_storage {
        faults.push("its state is in memory, it must be in a file".to_owned());
    }
    faults
}
