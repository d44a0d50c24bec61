//! Events to the subjects that requests named.

use bytes::Bytes;
use kiln_engine::ReplyPublisher as _;
use kiln_queue::{Broker, header};

use crate::bench::{Notes, Publisher, event, running, settings, until, value};
use crate::broker::TestBroker;

#[tokio::test]
async fn a_request_may_name_a_subject_below_the_prefix_only() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let queue = running(&settings(&broker), &notes).await;
    let publisher = Publisher::connect(&broker).await;
    let naming = |id, subject| event(id, &format!(r#","kilnreplyto":"{subject}""#));
    publisher
        .publish(&naming("good", "kiln.results.run-1"))
        .await;
    publisher.publish(&naming("bad", "orders.new")).await;
    publisher.has("kiln-dead", 1).await;
    publisher.has("kiln", 0).await;
    assert_eq!(notes.calls().into_keys().collect::<Vec<_>>(), ["good"]);
    let dead = publisher.messages("kiln-dead").await;
    let reason = value(&dead[0].headers, header::MESSAGE);
    assert!(
        reason.contains("`orders.new`") && reason.contains("`kiln.results.`"),
        "{reason}"
    );
    queue.stop().await;
}

#[tokio::test]
async fn an_event_is_stored_once_also_over_a_crash_of_the_broker_and_elsewhere_never() {
    let mut broker = TestBroker::start();
    let settings = settings(&broker);
    let queue = running(&settings, &Notes::open()).await;
    let publisher = Publisher::connect(&broker).await;
    let replies = Broker::connect(settings).await.unwrap().replies();
    let event = Bytes::from_static(br#"{"specversion":"1.0"}"#);
    let subject = "kiln.results.run-1";
    replies.publish(subject, event.clone(), "e1").await.unwrap();
    replies.publish(subject, event.clone(), "e1").await.unwrap();
    replies.publish(subject, event.clone(), "e2").await.unwrap();
    let other = "kiln.results.run-2";
    replies.publish(other, event.clone(), "e1").await.unwrap();
    assert_eq!(publisher.count("kiln-results").await, 3);
    for elsewhere in ["kiln.builds", "kiln.results", "kiln.results.*", "a b"] {
        let error = replies
            .publish(elsewhere, event.clone(), "e3")
            .await
            .unwrap_err();
        assert!(!error.is_retryable(), "{elsewhere}");
    }
    broker.kill();
    let error = replies
        .publish(subject, event.clone(), "e2")
        .await
        .unwrap_err();
    assert!(error.is_retryable());
    broker.run();
    until("the event is confirmed", async || {
        replies.publish(subject, event.clone(), "e2").await.is_ok()
    })
    .await;
    let stored = publisher.messages("kiln-results").await;
    assert_eq!(stored.len(), 3);
    assert_eq!(stored[1].payload, event);
    assert_eq!(
        value(&stored[1].headers, "content-type"),
        "application/cloudevents+json"
    );
    queue.stop().await;
}
