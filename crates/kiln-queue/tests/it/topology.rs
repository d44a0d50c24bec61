//! Streams and consumers that are there already.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use kiln_queue::{Broker, Health, Queue};
use tokio_util::sync::CancellationToken;

use crate::bench::{Notes, Publisher, fault, healthy, running, settings, until};
use crate::broker::TestBroker;

#[tokio::test]
async fn a_stream_that_could_lose_messages_is_refused_and_taken_when_it_is_mended() {
    let broker = TestBroker::start();
    let publisher = Publisher::connect(&broker).await;
    publisher.make_stream_in_memory("kiln", "kiln.others").await;
    let client = Broker::connect(settings(&broker)).await.unwrap();
    let queue = Queue::start(&client, Notes::open(), &CancellationToken::new());
    let reason = fault(&queue).await;
    assert!(reason.contains("stream `kiln`"), "{reason}");
    assert!(reason.contains("storage is memory"), "{reason}");
    assert!(reason.contains("does not store `kiln.builds`"), "{reason}");
    publisher.jetstream.delete_stream("kiln").await.unwrap();
    healthy(&queue, |health| *health == Health::Running).await;
    queue.stop().await;
}

#[tokio::test]
async fn subjects_of_another_stream_are_named() {
    let broker = TestBroker::start();
    let publisher = Publisher::connect(&broker).await;
    publisher
        .make_stream_in_memory("other", "kiln.builds")
        .await;
    let client = Broker::connect(settings(&broker)).await.unwrap();
    let queue = Queue::start(&client, Notes::open(), &CancellationToken::new());
    let reason = fault(&queue).await;
    assert!(
        reason.contains("another stream stores `kiln.builds`"),
        "{reason}"
    );
    queue.stop().await;
}

#[tokio::test]
async fn a_consumer_with_another_filter_is_refused_and_other_limits_are_set() {
    let broker = TestBroker::start();
    let mut settings = settings(&broker);
    let notes = Notes::open();
    running(&settings, &notes).await.stop().await;
    settings.max_deliver = 7;
    settings.ack_wait = Duration::from_secs(2);
    running(&settings, &notes).await.stop().await;
    let publisher = Publisher::connect(&broker).await;
    let stream = publisher.jetstream.get_stream("kiln").await.unwrap();
    let consumer: PullConsumer = stream.get_consumer("kiln").await.unwrap();
    let config = &consumer.cached_info().config;
    assert_eq!(
        (config.max_deliver, config.ack_wait),
        (7, Duration::from_secs(2))
    );

    stream.delete_consumer("kiln").await.unwrap();
    let other = pull::Config {
        durable_name: Some("kiln".to_owned()),
        ack_policy: AckPolicy::Explicit,
        ..pull::Config::default()
    };
    stream.create_consumer(other).await.unwrap();
    let client = Broker::connect(settings).await.unwrap();
    let queue = Queue::start(&client, notes, &CancellationToken::new());
    let reason = fault(&queue).await;
    assert!(
        reason.contains("its filter is ``, it must be `kiln.builds`"),
        "{reason}"
    );
    queue.stop().await;
}

#[tokio::test]
async fn a_stream_that_keeps_its_messages_is_used_as_it_is() {
    let broker = TestBroker::start();
    let publisher = Publisher::connect(&broker).await;
    let config = async_nats::jetstream::stream::Config {
        name: "kiln".to_owned(),
        subjects: vec!["kiln.>".to_owned()],
        ..Default::default()
    };
    publisher.jetstream.create_stream(config).await.unwrap();
    let client = Broker::connect(settings(&broker)).await.unwrap();
    let notes = Notes::open();
    let queue = Queue::start(&client, notes.clone(), &CancellationToken::new());
    // It stores the dead letters too, so kiln's own stream for them can't be made.
    assert!(fault(&queue).await.contains("kiln-dead"));
    let config = async_nats::jetstream::stream::Config {
        name: "kiln".to_owned(),
        subjects: vec!["kiln.builds".to_owned()],
        ..Default::default()
    };
    publisher.jetstream.update_stream(config).await.unwrap();
    healthy(&queue, |health| *health == Health::Running).await;
    publisher.request("poison").await;
    publisher.request("a").await;
    until("both are dealt with", async || {
        notes.taken().contains_key("a") && publisher.count("kiln-dead").await == 1
    })
    .await;
    queue.stop().await;
    assert_eq!(publisher.count("kiln").await, 2);
}
