//! A broker that goes and comes back.

use std::collections::BTreeSet;

use kiln_queue::{Broker, Health, Queue};
use tokio_util::sync::CancellationToken;

use crate::bench::{Notes, Publisher, fault, healthy, running, settings, until};
use crate::broker::TestBroker;

#[tokio::test]
async fn a_broker_that_crashes_in_the_middle_loses_nothing_and_doubles_no_dead_letter() {
    const MESSAGES: usize = 300;
    const POISON: usize = 6;
    let mut broker = TestBroker::start();
    let notes = Notes::closed();
    let queue = running(&settings(&broker), &notes).await;
    let publisher = Publisher::connect(&broker).await;
    let ids: BTreeSet<String> = (0..MESSAGES).map(|number| format!("m{number}")).collect();
    for (number, id) in ids.iter().enumerate() {
        if number % (MESSAGES / POISON) == 5 {
            publisher.request(&format!("poison-{number}")).await;
        }
        publisher.request(id).await;
    }
    // It crashes with some taken, some being dealt with and some never delivered; then once more.
    for part in [100, 200] {
        notes.gate.add_permits(100 + 2 * POISON);
        until("a part is taken", async || {
            notes.taken().values().sum::<u32>() >= part
        })
        .await;
        broker.kill();
        notes.gate.add_permits(20);
        broker.run();
    }
    notes.gate.add_permits(100 * MESSAGES);
    let publisher = Publisher::connect(&broker).await;
    publisher.has("kiln", 0).await;
    let taken = notes.taken();
    assert_eq!(taken.keys().cloned().collect::<BTreeSet<_>>(), ids);
    assert_eq!(publisher.count("kiln-dead").await, POISON as u64);
    // A broker that crashes forgets acknowledgements it confirmed a moment before, so a message may be given again:
    // the engine knows it by its id. None is given so often that it could become a dead letter.
    assert!(taken.values().all(|times| *times <= 3), "{taken:?}");
    queue.stop().await;
}

#[tokio::test]
async fn a_broker_may_come_up_after_kiln() {
    let mut broker = TestBroker::start();
    broker.kill();
    let notes = Notes::open();
    let client = Broker::connect(settings(&broker)).await.unwrap();
    let queue = Queue::start(&client, notes.clone(), &CancellationToken::new());
    let reason = fault(&queue).await;
    assert!(reason.contains("Connection refused"), "{reason}");
    broker.run();
    healthy(&queue, |health| *health == Health::Running).await;
    Publisher::connect(&broker).await.request("late").await;
    until("it is taken", async || notes.taken().contains_key("late")).await;
    queue.stop().await;
    assert_eq!(*queue.health().borrow(), Health::Stopped);
}

#[tokio::test]
async fn a_stop_ends_a_queue_whose_broker_is_away() {
    let mut broker = TestBroker::start();
    let notes = Notes::closed();
    let queue = running(&settings(&broker), &notes).await;
    Publisher::connect(&broker).await.request("a").await;
    until("the message is given", async || !notes.calls().is_empty()).await;
    broker.kill();
    notes.gate.add_permits(1);
    until("it is taken", async || !notes.taken().is_empty()).await;
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(15), queue.stop());
    stopped.await.expect("a stop is bounded");
}
