//! Builds that are not over, and who waits for them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kiln_api::{BuildState, BuildStatus, Failure};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A build that is not over, as this process knows it; memory alone, whatever happens to the process.
#[derive(Debug)]
pub(crate) struct ActiveBuild {
    pub(crate) id: String,
    /// Its status as it was last told.
    pub(crate) status: watch::Sender<BuildStatus>,
    /// Stops it, because nobody wants it any more.
    pub(crate) cancel: CancellationToken,
    waiters: Mutex<HashMap<Uuid, Box<str>>>,
}

/// Which waiters are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// The one that an answer named.
    One(Uuid),
    /// All of a caller.
    Of(String),
    /// Everybody's.
    All,
}

impl ActiveBuild {
    pub(crate) fn new(id: &str, status: BuildStatus) -> Self {
        Self {
            id: id.to_owned(),
            status: watch::Sender::new(status),
            cancel: CancellationToken::new(),
            waiters: Mutex::default(),
        }
    }

    /// One more waits; a client that is gone goes on waiting until it says otherwise.
    pub(crate) fn attach(&self, actor: &str) -> Uuid {
        let waiter = Uuid::new_v4();
        self.waiters().insert(waiter, actor.into());
        waiter
    }

    /// Some wait no longer; true when that leaves nobody. After a restart nobody is known, and
    /// whoever withdraws is the last.
    pub(crate) fn withdraw(&self, who: &Waiting) -> bool {
        let mut waiters = self.waiters();
        match who {
            Waiting::One(waiter) => drop(waiters.remove(waiter)),
            Waiting::Of(actor) => waiters.retain(|_, of| **of != **actor),
            Waiting::All => waiters.clear(),
        }
        waiters.is_empty()
    }

    pub(crate) fn state(&self, state: BuildState) {
        self.status.send_modify(|status| status.state = state);
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<Uuid, Box<str>>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a submission: a status now, and a way to wait for the next.
#[derive(Debug)]
pub struct Ticket {
    status: BuildStatus,
    updates: Option<watch::Receiver<BuildStatus>>,
}

impl Ticket {
    /// An answer that is final.
    pub(crate) fn known(status: BuildStatus) -> Self {
        Self {
            status,
            updates: None,
        }
    }

    /// A build that goes on, and one who waits for it; `joined` and the warnings are this caller's own.
    pub(crate) fn attached(active: &ActiveBuild, actor: &str, own: BuildStatus) -> Self {
        let updates = active.status.subscribe();
        let waiter = active.attach(actor).simple().to_string();
        let latest = updates.borrow().clone();
        Self {
            status: BuildStatus {
                waiter: Some(waiter),
                cached: false,
                joined: own.joined,
                warnings: own.warnings,
                environment: own.environment,
                ..latest
            },
            updates: Some(updates),
        }
    }

    /// The status at the time of the answer.
    pub fn status(&self) -> &BuildStatus {
        &self.status
    }

    /// Waits until the build is over, at most so long; the latest status either way.
    pub async fn wait(mut self, at_most: Duration) -> BuildStatus {
        if let Some(updates) = &mut self.updates {
            let over = updates.wait_for(|status| status.state.is_final());
            // A timeout is an answer too: the build goes on. So is a task that is gone: the store knows.
            let _ = tokio::time::timeout(at_most, over).await;
            let latest = updates.borrow().clone();
            self.status = BuildStatus {
                cached: self.status.cached,
                joined: self.status.joined,
                warnings: self.status.warnings,
                environment: self.status.environment,
                waiter: self.status.waiter.filter(|_| !latest.state.is_final()),
                ..latest
            };
        }
        self.status
    }
}

/// A failure that was remembered, as an answer.
pub(crate) fn failed(status: &mut BuildStatus, failure: Failure) {
    status.state = BuildState::Failed;
    status.error = Some(failure);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active() -> ActiveBuild {
        let status = serde_json::json!({
            "name": "n", "image": null, "spec_hash": "h", "build_id": "b", "state": "QUEUED",
            "generation": null, "cached": false, "joined": false,
        });
        ActiveBuild::new("b", serde_json::from_value(status).unwrap())
    }

    #[test]
    fn only_the_last_who_withdraws_leaves_nobody() {
        let build = active();
        let first = build.attach("one");
        build.attach("one");
        build.attach("two");
        assert!(!build.withdraw(&Waiting::One(first)));
        assert!(!build.withdraw(&Waiting::One(first)), "twice is once");
        assert!(!build.withdraw(&Waiting::Of("one".into())));
        assert!(build.withdraw(&Waiting::Of("two".into())));
    }

    #[test]
    fn ten_thousand_waiters_see_one_end() {
        let build = active();
        let own = build.status.borrow().clone();
        let tickets: Vec<Ticket> = (0..10_000)
            .map(|_| Ticket::attached(&build, "one", own.clone()))
            .collect();
        build.state(BuildState::Ready);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            for ticket in tickets {
                let status = ticket.wait(Duration::from_secs(1)).await;
                assert_eq!(status.state, BuildState::Ready);
            }
        });
    }
}
