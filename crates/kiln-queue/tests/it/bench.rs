//! What the tests have in common: an intake that notes what it is given, and a look into the broker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream::StorageType};
use async_trait::async_trait;
use bytes::Bytes;
use kiln_api::{BuildState, BuildStatus, FailureClass};
use kiln_engine::{Accepted, Intake, Message, Refusal, Refused};
use kiln_queue::{Broker, Health, Queue, QueueSettings};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::broker::TestBroker;

/// How long anything may take to come true.
const LIMIT: Duration = Duration::from_secs(40);

/// Settings for a test: quick to give up, so that redelivery is seen.
pub(crate) fn settings(broker: &TestBroker) -> QueueSettings {
    QueueSettings {
        servers: vec![broker.address()],
        ack_wait: Duration::from_secs(1),
        retry_delay: Duration::from_millis(20),
        retry_for: Duration::from_secs(20),
        ..QueueSettings::default()
    }
}

/// An intake that does what a message's id asks for: `poison...` is refused for good, `busy-N...` is refused as long as it came
/// less than N times before, `crash...` panics, all others are taken.
pub(crate) struct Notes {
    calls: Mutex<BTreeMap<String, u32>>,
    taken: Mutex<BTreeMap<String, u32>>,
    /// A permit lets one call through.
    pub(crate) gate: Semaphore,
}

impl Notes {
    pub(crate) fn open() -> Arc<Self> {
        Self::with_gate(Semaphore::MAX_PERMITS)
    }

    pub(crate) fn closed() -> Arc<Self> {
        Self::with_gate(0)
    }

    fn with_gate(permits: usize) -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            taken: Mutex::default(),
            gate: Semaphore::new(permits),
        })
    }

    /// How often each message was given, by id.
    pub(crate) fn calls(&self) -> BTreeMap<String, u32> {
        self.calls.lock().unwrap().clone()
    }

    /// How often each message was taken, by id.
    pub(crate) fn taken(&self) -> BTreeMap<String, u32> {
        self.taken.lock().unwrap().clone()
    }
}

#[async_trait]
impl Intake for Notes {
    async fn accept(&self, message: Message) -> Result<Accepted, Refused> {
        let before = {
            let mut calls = self.calls.lock().unwrap();
            let count = calls.entry(message.id.clone()).or_default();
            *count += 1;
            *count - 1
        };
        self.gate.acquire().await.unwrap().forget();
        let (word, rest) = message.id.split_once('-').unwrap_or((&message.id, ""));
        let times = rest
            .split('-')
            .next()
            .and_then(|number| number.parse().ok());
        match (word, times) {
            ("poison", _) => {
                return Err(Refused::invalid("the environment is not usable", "mend it"));
            }
            ("busy", Some(times)) if before < times => {
                return Err(Refused {
                    refusal: Refusal::Busy,
                    class: FailureClass::Internal,
                    message: "too many builds wait".to_owned(),
                    remedy: "ask again later".to_owned(),
                });
            }
            ("crash", _) => panic!("the message makes kiln crash"),
            _ => {}
        }
        let mut taken = self.taken.lock().unwrap();
        *taken.entry(message.id.clone()).or_default() += 1;
        Ok(Accepted {
            status: status(&message.id),
        })
    }
}

fn status(id: &str) -> BuildStatus {
    BuildStatus {
        name: "azureml/azureml_0".to_owned(),
        image: None,
        spec_hash: "0".repeat(64),
        environment: None,
        build_id: Some(id.to_owned()),
        state: BuildState::Queued,
        generation: None,
        cached: false,
        joined: false,
        waiter: None,
        error: None,
        warnings: Vec::new(),
        backend: None,
    }
}

/// A queue that takes requests.
pub(crate) async fn running(settings: &QueueSettings, intake: &Arc<Notes>) -> Queue {
    let broker = Broker::connect(settings.clone()).await.unwrap();
    let queue = Queue::start(&broker, intake.clone(), &CancellationToken::new());
    healthy(&queue, |health| *health == Health::Running).await;
    queue
}

/// Waits until a queue's health is as wanted.
pub(crate) async fn healthy(queue: &Queue, wanted: impl Fn(&Health) -> bool) -> Health {
    let mut health = queue.health();
    let seen = tokio::time::timeout(LIMIT, health.wait_for(wanted)).await;
    let seen = seen.map(|seen| seen.map(|health| health.clone()));
    match seen {
        Ok(Ok(health)) => health,
        _ => panic!("the queue stays {:?}", *queue.health().borrow()),
    }
}

/// Waits until a queue takes nothing, and answers why.
pub(crate) async fn fault(queue: &Queue) -> String {
    match healthy(queue, |health| matches!(health, Health::Faulty(_))).await {
        Health::Faulty(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// A publisher and onlooker, beside kiln.
pub(crate) struct Publisher {
    pub(crate) jetstream: jetstream::Context,
}

impl Publisher {
    pub(crate) async fn connect(broker: &TestBroker) -> Self {
        let client = async_nats::connect(broker.address()).await.unwrap();
        Self {
            jetstream: jetstream::new(client),
        }
    }

    /// Publishes a request for a build and waits until the broker has stored it.
    pub(crate) async fn request(&self, id: &str) {
        self.publish(&event(id, "")).await;
    }

    /// Publishes a body, as structured JSON.
    pub(crate) async fn publish(&self, body: &str) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/cloudevents+json");
        let body = Bytes::from(body.to_owned());
        let sent = self
            .jetstream
            .publish_with_headers("kiln.builds", headers, body);
        sent.await.unwrap().await.unwrap();
    }

    /// How many messages a stream holds.
    pub(crate) async fn count(&self, stream: &str) -> u64 {
        let stream = self.jetstream.get_stream(stream).await.unwrap();
        stream.cached_info().state.messages
    }

    /// Waits until a stream holds so many messages.
    pub(crate) async fn has(&self, stream: &str, count: u64) {
        let what = format!("{stream} holds {count} messages");
        until(&what, async || self.count(stream).await == count).await;
    }

    /// The messages of a stream.
    pub(crate) async fn messages(&self, name: &str) -> Vec<jetstream::message::StreamMessage> {
        let stream = self.jetstream.get_stream(name).await.unwrap();
        let state = &stream.cached_info().state;
        let mut messages = Vec::new();
        for sequence in state.first_sequence..=state.last_sequence {
            messages.push(stream.get_raw_message(sequence).await.unwrap());
        }
        messages
    }

    /// Makes a stream that is lost when the broker ends.
    pub(crate) async fn make_stream_in_memory(&self, name: &str, subject: &str) {
        let config = jetstream::stream::Config {
            name: name.to_owned(),
            subjects: vec![subject.to_owned()],
            storage: StorageType::Memory,
            ..Default::default()
        };
        self.jetstream.create_stream(config).await.unwrap();
    }
}

/// A request for a build, as structured JSON; `more` are further members, each with a comma before it.
pub(crate) fn event(id: &str, more: &str) -> String {
    format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"/tests","type":"io.kiln.build.requested","data":{{"conda":"dependencies: [python]"}}{more}}}"#
    )
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let held = tokio::time::timeout(LIMIT, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(held.await.is_ok(), "not in time: {what}");
}

/// The value of a header; empty when there is none.
pub(crate) fn value(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .map(ToString::to_string)
        .unwrap_or_default()
}
