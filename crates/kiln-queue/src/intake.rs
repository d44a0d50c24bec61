//! The loop that pulls requests.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::AckKind;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::delivery::Deliveries;
use crate::topology::{BoxError, Topology};

/// The most messages that are asked for at once.
const BATCH: usize = 64;
/// How long a request for messages waits at the broker.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the broker says that it still waits; when it says nothing for two of these, kiln begins anew.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Pulls requests and deals with each in a task of its own, until kiln stops or the broker gives up.
pub(crate) async fn follow(
    work: &Deliveries,
    topology: &Topology,
    tasks: &TaskTracker,
    slots: &Arc<Semaphore>,
) -> Result<(), BoxError> {
    let batch = usize::from(work.broker.settings.max_ack_pending).min(BATCH);
    let messages = topology
        .requests
        .stream()
        .max_messages_per_batch(batch)
        .expires(EXPIRES)
        .heartbeat(HEARTBEAT)
        .messages();
    let mut messages = tokio::select! {
        () = work.stop.cancelled() => return Ok(()),
        messages = messages => messages?,
    };
    loop {
        let slot = slots.clone().acquire_owned();
        let message = tokio::select! {
            biased;
            () = work.stop.cancelled() => break,
            message = async { (slot.await, messages.next().await) } => message,
        };
        let (Ok(slot), Some(message)) = message else {
            return Ok(());
        };
        let (work, message) = (work.clone(), message?);
        tasks.spawn(async move {
            work.deal_with(message).await;
            drop(slot);
        });
    }
    // What has arrived and is not begun goes back, so that another kiln need not wait for it.
    while let Some(Some(Ok(message))) = messages.next().now_or_never() {
        let _ = message.ack_with(AckKind::Nak(None)).await;
    }
    Ok(())
}
