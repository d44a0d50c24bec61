//! One running build and those who wait for it.

use std::time::Duration;

use kiln_api::{BuildStatus, Failure};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A build that runs in this process.
#[derive(Debug)]
pub(crate) struct ActiveBuild {
    /// Its status as the task that runs it last told.
    pub(crate) status: watch::Sender<BuildStatus>,
    /// Stops it.
    pub(crate) cancel: CancellationToken,
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

    /// A build that goes on; `joined` and the warnings are this caller's own.
    pub(crate) fn running(status: BuildStatus, updates: watch::Receiver<BuildStatus>) -> Self {
        Self {
            status,
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
                ..latest
            };
        }
        self.status
    }
}

/// A failure that was remembered, as an answer.
pub(crate) fn failed(status: &mut BuildStatus, failure: Failure) {
    status.state = kiln_api::BuildState::Failed;
    status.error = Some(failure);
}
