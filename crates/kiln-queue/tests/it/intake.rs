//! What is acknowledged, and when.

use std::time::Duration;

use crate::bench::{Notes, Publisher, event, running, settings, until};
use crate::broker::TestBroker;

#[tokio::test]
async fn a_message_leaves_the_queue_when_it_was_taken_and_not_before() {
    let broker = TestBroker::start();
    let notes = Notes::closed();
    let settings = settings(&broker);
    let queue = running(&settings, &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.request("a").await;
    until("the message is given", async || {
        notes.calls().contains_key("a")
    })
    .await;
    // Longer than the broker waits: signs of life keep it from a second delivery.
    tokio::time::sleep(settings.ack_wait * 3).await;
    assert_eq!(publisher.count("kiln").await, 1);
    assert_eq!(notes.calls()["a"], 1);
    notes.gate.add_permits(1);
    publisher.has("kiln", 0).await;
    assert_eq!(notes.taken()["a"], 1);
    queue.stop().await;
}

#[tokio::test]
async fn every_delivery_of_a_message_is_acknowledged_however_often_it_comes() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let settings = settings(&broker);
    let first = running(&settings, &notes).await;
    let second = running(&settings, &notes).await;
    let publisher = Publisher::connect(&broker).await;
    for _ in 0..100 {
        publisher.request("same").await;
    }
    publisher.has("kiln", 0).await;
    assert_eq!(
        notes.taken().into_iter().collect::<Vec<_>>(),
        [("same".to_owned(), 100)]
    );
    assert_eq!(publisher.count("kiln-dead").await, 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_has_to_wait_is_tried_again_within_its_delivery() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let queue = running(&settings(&broker), &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.request("busy-5").await;
    publisher.has("kiln", 0).await;
    assert_eq!(notes.calls()["busy-5"], 6);
    assert_eq!(notes.taken()["busy-5"], 1);
    assert_eq!(publisher.count("kiln-dead").await, 0);
    queue.stop().await;
}

#[tokio::test]
async fn what_has_to_wait_longer_comes_again() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let mut settings = settings(&broker);
    settings.retry_for = Duration::ZERO;
    let queue = running(&settings, &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.request("busy-3").await;
    publisher.has("kiln", 0).await;
    assert_eq!(notes.calls()["busy-3"], 4);
    assert_eq!(notes.taken()["busy-3"], 1);
    assert_eq!(publisher.count("kiln-dead").await, 0);
    queue.stop().await;
}

#[tokio::test]
async fn a_stop_gives_back_what_waits_and_the_next_kiln_takes_it() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let settings = settings(&broker);
    let queue = running(&settings, &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.publish(&event("busy-1000000", "")).await;
    until("the message waits", async || {
        notes
            .calls()
            .get("busy-1000000")
            .is_some_and(|calls| *calls > 2)
    })
    .await;
    queue.stop().await;
    assert_eq!(publisher.count("kiln").await, 1);
    assert_eq!(notes.taken().len(), 0);
    let queue = running(&settings, &notes).await;
    let before = notes.calls()["busy-1000000"];
    until("it is given again", async || {
        notes.calls()["busy-1000000"] > before
    })
    .await;
    queue.stop().await;
}
