//! Messages that kiln can't take.

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use futures::StreamExt as _;
use kiln_queue::header;

use crate::bench::{Notes, Publisher, event, running, settings, until, value};
use crate::broker::TestBroker;

#[tokio::test]
async fn poison_is_put_aside_with_the_reason_and_its_neighbours_are_taken() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let queue = running(&settings(&broker), &notes).await;
    let publisher = Publisher::connect(&broker).await;
    for number in 0..200 {
        match number {
            70 => publisher.publish("{ no event").await,
            140 => publisher.request("poison").await,
            _ => publisher.request(&format!("m{number}")).await,
        }
    }
    publisher.has("kiln", 0).await;
    let taken = notes.taken();
    assert_eq!(taken.len(), 198);
    assert!(taken.values().all(|times| *times == 1), "{taken:?}");
    let dead = publisher.messages("kiln-dead").await;
    assert_eq!(dead.len(), 2);
    let garbage = dead.iter().find(|message| message.payload == "{ no event");
    let headers = &garbage.expect("the body is unchanged").headers;
    assert_eq!(value(headers, header::CLASS), "invalid");
    assert!(value(headers, header::MESSAGE).contains("not a JSON object"));
    assert!(value(headers, header::REMEDY).contains("CloudEvent"));
    let poison = dead.iter().find(|message| message.payload != "{ no event");
    let poison = poison.expect("there are two");
    assert_eq!(poison.subject.as_str(), "kiln.dead");
    assert_eq!(poison.payload, event("poison", ""));
    let headers = &poison.headers;
    assert_eq!(
        value(headers, header::MESSAGE),
        "the environment is not usable"
    );
    assert_eq!(value(headers, header::REMEDY), "mend it");
    assert_eq!(value(headers, header::SUBJECT), "kiln.builds");
    assert_eq!(value(headers, header::STREAM), "kiln");
    assert_eq!(value(headers, header::SEQUENCE), "141");
    assert_eq!(value(headers, header::DELIVERIES), "1");
    assert_eq!(
        value(headers, "content-type"),
        "application/cloudevents+json"
    );
    queue.stop().await;
}

#[tokio::test]
async fn what_has_to_wait_too_often_is_put_aside_with_the_last_reason() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let mut settings = settings(&broker);
    settings.retry_for = Duration::ZERO;
    settings.max_deliver = 3;
    let queue = running(&settings, &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.request("busy-100").await;
    publisher.has("kiln-dead", 1).await;
    publisher.has("kiln", 0).await;
    assert_eq!(notes.calls()["busy-100"], 3);
    let dead = publisher.messages("kiln-dead").await;
    let headers = &dead[0].headers;
    assert_eq!(value(headers, header::MESSAGE), "too many builds wait");
    assert_eq!(value(headers, header::DELIVERIES), "3");
    queue.stop().await;
}

#[tokio::test]
async fn a_message_that_makes_kiln_crash_is_put_aside_after_its_last_delivery() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let mut settings = settings(&broker);
    settings.max_deliver = 2;
    let queue = running(&settings, &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.request("a").await;
    publisher.request("crash").await;
    publisher.request("b").await;
    publisher.has("kiln-dead", 1).await;
    publisher.has("kiln", 0).await;
    publisher.has("kiln-advisories", 0).await;
    assert_eq!(notes.calls()["crash"], 2);
    assert_eq!(notes.taken().into_keys().collect::<Vec<_>>(), ["a", "b"]);
    let dead = publisher.messages("kiln-dead").await;
    assert_eq!(dead[0].payload, event("crash", ""));
    assert_eq!(value(&dead[0].headers, header::CLASS), "internal");
    assert_eq!(value(&dead[0].headers, header::DELIVERIES), "2");
    queue.stop().await;
}

#[tokio::test]
async fn what_became_too_much_while_kiln_was_away_is_put_aside_when_it_comes_back() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let mut settings = settings(&broker);
    settings.max_deliver = 2;
    running(&settings, &notes).await.stop().await;
    let publisher = Publisher::connect(&broker).await;
    publisher.request("lost").await;
    // As a kiln that is killed each time: it pulls and is never heard of again.
    let consumer: PullConsumer = publisher
        .jetstream
        .get_consumer_from_stream("kiln", "kiln")
        .await
        .unwrap();
    for _ in 0..2 {
        let mut messages = consumer
            .batch()
            .max_messages(1)
            .expires(Duration::from_secs(10))
            .messages()
            .await
            .unwrap();
        let message = messages.next().await.expect("a delivery").unwrap();
        assert_eq!(message.payload, event("lost", ""));
    }
    // The broker notices when somebody pulls again; the advisory then waits for a kiln, as nobody reads it.
    let mut messages = consumer
        .batch()
        .max_messages(1)
        .expires(Duration::from_secs(30))
        .messages()
        .await
        .unwrap();
    tokio::select! {
        message = messages.next() => panic!("a third delivery: {message:?}"),
        () = publisher.has("kiln-advisories", 1) => {}
    }
    drop(messages);
    assert_eq!(publisher.count("kiln").await, 1);

    let queue = running(&settings, &notes).await;
    publisher.has("kiln-dead", 1).await;
    publisher.has("kiln", 0).await;
    publisher.has("kiln-advisories", 0).await;
    assert_eq!(notes.calls().len(), 0);
    let dead = publisher.messages("kiln-dead").await;
    assert_eq!(dead[0].payload, event("lost", ""));
    assert_eq!(value(&dead[0].headers, header::CLASS), "internal");
    assert!(value(&dead[0].headers, header::MESSAGE).contains("2 times"));
    queue.stop().await;
}

#[tokio::test]
async fn a_body_that_leaves_no_room_for_the_reason_is_left_out() {
    let broker = TestBroker::start();
    let notes = Notes::open();
    let queue = running(&settings(&broker), &notes).await;
    let publisher = Publisher::connect(&broker).await;
    publisher.publish(&"x".repeat(1024 * 1024 - 200)).await;
    publisher.has("kiln-dead", 1).await;
    publisher.has("kiln", 0).await;
    let dead = publisher.messages("kiln-dead").await;
    assert_eq!(dead[0].payload.len(), 0);
    assert_eq!(value(&dead[0].headers, header::BODY), "omitted");
    assert_eq!(value(&dead[0].headers, header::CLASS), "invalid");
    until("nothing was given", async || notes.calls().is_empty()).await;
    queue.stop().await;
}
