//! The queue as a running part of kiln.

use std::sync::Arc;
use std::time::Duration;

use kiln_engine::Intake;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use crate::broker::Broker;
use crate::delivery::{AtWork, Deliveries};
use crate::{advisory, intake, pace, topology};

/// The first pause before the queue is set up again.
const BEGIN_AGAIN: Duration = Duration::from_millis(500);

/// How long a stop waits for what was sent last to leave.
const FLUSH: Duration = Duration::from_secs(2);

/// How the queue is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// kiln connects to the broker or sets up what it needs there.
    Starting,
    /// Requests are taken.
    Running,
    /// Requests are not taken, and why; kiln tries again by itself.
    Faulty(String),
    /// It was stopped.
    Stopped,
}

/// Feeds an [`Intake`] with the requests of the queue.
#[derive(Debug)]
pub struct Queue {
    broker: Broker,
    stop: CancellationToken,
    tasks: TaskTracker,
    health: watch::Receiver<Health>,
}

impl Queue {
    /// Starts to take requests, once the broker answers; cancelling `stop` ends it like [`Queue::stop`].
    pub fn start(broker: &Broker, intake: Arc<dyn Intake>, stop: &CancellationToken) -> Self {
        let stop = stop.child_token();
        let tasks = TaskTracker::new();
        let (tell, health) = watch::channel(Health::Starting);
        let slots = usize::from(broker.settings.max_ack_pending);
        let supervisor = Supervisor {
            work: Deliveries {
                broker: broker.clone(),
                intake,
                stop: stop.clone(),
                at_work: AtWork::default(),
            },
            slots: Arc::new(Semaphore::new(slots)),
            tasks: tasks.clone(),
            health: tell,
        };
        tasks.spawn(supervisor.run());
        Self {
            broker: broker.clone(),
            stop,
            tasks,
            health,
        }
    }

    /// How it is, now and whenever that changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.health.clone()
    }

    /// Takes no more requests and waits for those that are being dealt with; what can't be finished goes back to the broker.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let sent = timeout(FLUSH, self.broker.client.flush()).await;
        if !matches!(sent, Ok(Ok(()))) {
            debug!("the queue's connection is not there to be flushed");
        }
    }
}

struct Supervisor {
    work: Deliveries,
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
    health: watch::Sender<Health>,
}

impl Supervisor {
    async fn run(self) {
        let stop = self.work.stop.clone();
        let mut attempt = 0;
        while !stop.is_cancelled() {
            let (ran, fault) = self.work_once().await;
            if stop.is_cancelled() {
                break;
            }
            let connection = self.work.broker.fault();
            let fault = connection.map_or_else(|| fault.clone(), |said| format!("{fault}; {said}"));
            attempt = if ran { 1 } else { attempt + 1 };
            warn!(attempt, "the queue: {fault}; kiln tries again");
            self.health.send_replace(Health::Faulty(fault));
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(pace::pause(BEGIN_AGAIN, attempt)) => {}
            }
        }
        self.health.send_replace(Health::Stopped);
    }

    /// Sets up what is needed and takes requests until that fails; answers whether it came to take any, and the fault.
    async fn work_once(&self) -> (bool, String) {
        let broker = &self.work.broker;
        let topology = tokio::select! {
            () = self.work.stop.cancelled() => return (false, "kiln stops".to_owned()),
            topology = topology::ensure(&broker.jetstream, &broker.settings) => topology,
        };
        let topology = match topology {
            Ok(topology) => topology,
            Err(error) => return (false, chain(&error)),
        };
        info!(
            stream = broker.settings.stream,
            "taking requests of the queue"
        );
        self.health.send_replace(Health::Running);
        let ended = "the broker ended the delivery";
        let fault = tokio::select! {
            result = intake::follow(&self.work, &topology, &self.tasks, &self.slots) => match result {
                Ok(()) => ended.to_owned(),
                Err(error) => chain(error.as_ref()),
            },
            result = advisory::follow(&self.work, &topology) => match result {
                Ok(()) => ended.to_owned(),
                Err(error) => chain(error.as_ref()),
            },
        };
        (true, fault)
    }
}

/// An error and its causes in one line, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
