//! The engine: what is asked of it, and who gets which answer.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use kiln_api::{BackendChoice, BuildList, BuildStatus, Defaults};
use kiln_registry::CredentialSource;
use kiln_resolve::Resolver;
use kiln_spec::SpecHash;
use kiln_store::{BuildRow, Scope, Store};
use tokio::sync::{Mutex, Notify, RwLock, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, ConnectRegistry};
use crate::active::ActiveBuild;
use crate::backend::Backend;
use crate::environments::{Curated, KnownDocuments};
use crate::error::EngineError;
use crate::log::Logs;
use crate::lookup::Hit;
use crate::recent::Recent;
use crate::settings::EngineSettings;

/// Hits that are checked at once.
const CHECKS: usize = 16;

/// One definition in one workspace.
pub(crate) type Key = (Scope, SpecHash);

/// Gets or creates images; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

/// What the engine works with.
pub struct Parts {
    /// Records and blobs.
    pub store: Store,
    /// Makes locks.
    pub resolver: Resolver,
    /// Makes clients of registries.
    pub connect_registry: ConnectRegistry,
    /// The operator's own logins, for all workspaces.
    pub operator_logins: Arc<dyn CredentialSource>,
    /// The backends, in the order of preference.
    pub backends: Vec<Arc<dyn Backend>>,
    /// The logs of builds.
    pub logs: Logs,
    /// Settings.
    pub settings: EngineSettings,
    /// Answers of `GET /v1/defaults` that only the composition knows.
    pub default_bases: (String, String),
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) resolver: Resolver,
    pub(crate) connect_registry: ConnectRegistry,
    pub(crate) operator_logins: Arc<dyn CredentialSource>,
    pub(crate) accesses: DashMap<Scope, Arc<Access>>,
    pub(crate) backends: Vec<Arc<dyn Backend>>,
    pub(crate) logs: Logs,
    pub(crate) settings: EngineSettings,
    /// Environments that kiln ships.
    pub(crate) curated: Curated,
    /// What names were registered with last.
    pub(crate) known_documents: KnownDocuments,
    default_bases: (String, String),
    /// This process among those that work on these records.
    pub(crate) worker: String,
    /// Wakes the worker: a build waits.
    pub(crate) work: Notify,
    /// Wakes who delivers events: there are new ones.
    pub(crate) outbox: Notify,
    /// Builds that are not over and were asked for in this process, by definition.
    pub(crate) active: DashMap<Key, Arc<ActiveBuild>>,
    /// Requests that were hits.
    pub(crate) recent: Recent,
    /// Images known to be current, by definition.
    pub(crate) hits: DashMap<Key, Hit>,
    /// One at a time looks for a definition's image; the others find what it found.
    gates: DashMap<Key, Arc<Mutex<()>>>,
    /// Attempts that run in this process, by build.
    pub(crate) attempts: DashMap<String, Arc<Mutex<()>>>,
    /// Room for builds.
    pub(crate) slots: Arc<Semaphore>,
    /// Room for checks of hits.
    pub(crate) checks: Semaphore,
    pub(crate) tasks: TaskTracker,
    /// One collection at a time, and none while a lock is made without a build.
    pub(crate) collecting: Arc<RwLock<()>>,
    /// No more work is taken.
    pub(crate) drain: CancellationToken,
    /// What runs is given back.
    pub(crate) stop: CancellationToken,
}

impl Engine {
    /// Puts the engine together; [`Self::recover`] goes on with what an earlier process left.
    pub fn new(parts: Parts) -> Self {
        let slots = Arc::new(Semaphore::new(parts.settings.max_builds));
        Self {
            inner: Arc::new(Inner {
                store: parts.store,
                resolver: parts.resolver,
                connect_registry: parts.connect_registry,
                operator_logins: parts.operator_logins,
                accesses: DashMap::new(),
                backends: parts.backends,
                logs: parts.logs,
                curated: Curated::new(&parts.settings.default_environment),
                known_documents: KnownDocuments::default(),
                settings: parts.settings,
                default_bases: parts.default_bases,
                worker: uuid::Uuid::new_v4().to_string(),
                work: Notify::new(),
                outbox: Notify::new(),
                active: DashMap::new(),
                recent: Recent::new(),
                hits: DashMap::new(),
                gates: DashMap::new(),
                attempts: DashMap::new(),
                slots,
                checks: Semaphore::new(CHECKS),
                tasks: TaskTracker::new(),
                collecting: Arc::default(),
                drain: CancellationToken::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// The backend that builds a row.
    pub(crate) fn backend_of(&self, row: &BuildRow) -> Result<Arc<dyn Backend>, EngineError> {
        let choice = match row.backend.as_str() {
            "docker" => BackendChoice::Docker,
            "assemble" => BackendChoice::Assemble,
            _ => BackendChoice::Auto,
        };
        self.choose(choice)
            .or_else(|_| self.choose(BackendChoice::Auto))
    }

    /// The backend that was asked for, or the first there is.
    pub(crate) fn choose(&self, choice: BackendChoice) -> Result<Arc<dyn Backend>, EngineError> {
        let wanted = match choice {
            BackendChoice::Auto => None,
            BackendChoice::Docker => Some("docker"),
            BackendChoice::Assemble => Some("assemble"),
        };
        let mut backends = self.inner.backends.iter();
        backends
            .find(|backend| wanted.is_none_or(|name| backend.name() == name))
            .map(Arc::clone)
            .ok_or_else(|| EngineError::Invalid {
                message: format!("this kiln has no backend `{}`", wanted.unwrap_or("auto")),
                remedy: "use one of those that /v1/defaults lists".into(),
            })
    }

    /// Where a build is: its workspace and its status.
    pub async fn status(&self, id: &str) -> Result<Option<(String, BuildStatus)>, EngineError> {
        let Some(build) = self.inner.store.records().build(id).await? else {
            return Ok(None);
        };
        Ok(Some((
            build.scope.to_string(),
            self.inner.status_of_row(&build),
        )))
    }

    /// A page of a workspace's builds, newest first.
    pub async fn list(
        &self,
        workspace: &str,
        limit: u32,
        before: Option<&str>,
    ) -> Result<BuildList, EngineError> {
        let scope: Scope = workspace.parse().map_err(|_| EngineError::NotFound {
            what: format!("workspace `{workspace}`"),
        })?;
        let rows = self
            .inner
            .store
            .records()
            .list_builds(&scope, limit, before)
            .await?;
        let next = (rows.len() == limit as usize).then(|| rows.last().map(|row| row.id.clone()));
        let value = rows
            .iter()
            .map(|row| self.inner.status_of_row(row))
            .collect();
        Ok(BuildList {
            value,
            next: next.flatten(),
        })
    }

    /// Returns when there may be new events to deliver, or kiln stops; `at_most` later in any case.
    /// False when it stops.
    pub async fn events_written(&self, at_most: Duration) -> bool {
        let inner = &self.inner;
        tokio::select! {
            () = inner.outbox.notified() => true,
            () = tokio::time::sleep(at_most) => true,
            () = inner.drain.cancelled() => false,
        }
    }

    /// There are new events to deliver.
    pub fn tell_events(&self) {
        self.inner.outbox.notify_one();
    }

    /// The records and blobs.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Runs a task that ends when [`Self::shutdown`] begins.
    pub fn run_beside(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(task);
    }

    /// The logs of builds.
    pub fn logs(&self) -> &Logs {
        &self.inner.logs
    }

    /// What a request that leaves something out gets.
    pub fn defaults(&self) -> Defaults {
        let inner = &self.inner;
        Defaults {
            registry: inner.settings.registry.clone(),
            platform: "linux/amd64".into(),
            base_cpu: inner.default_bases.0.clone(),
            base_gpu: inner.default_bases.1.clone(),
            backends: inner
                .backends
                .iter()
                .map(|backend| backend.name().to_owned())
                .collect(),
        }
    }

    /// Whether work is taken.
    pub async fn ready(&self) -> bool {
        !self.inner.drain.is_cancelled() && self.inner.store.records().ping().await.is_ok()
    }

    /// Takes no more work and waits for what runs; after the grace period it is given back, for the
    /// next start to go on with.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.drain.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(grace, self.inner.tasks.wait())
            .await
            .is_err()
        {
            self.inner.stop.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(10), self.inner.tasks.wait()).await;
        }
        self.inner.stop.cancel();
    }
}

impl Inner {
    /// Whether anything can be accepted at all.
    pub(crate) fn taking_work(&self) -> bool {
        !self.drain.is_cancelled()
    }

    /// One at a time looks for a definition's image; the others find what it found.
    pub(crate) fn gate(&self, key: &Key) -> Arc<Mutex<()>> {
        Arc::clone(&self.gates.entry(key.clone()).or_default())
    }

    /// Forgets a gate that nobody stands at.
    pub(crate) fn leave_gate(&self, key: &Key, gate: Arc<Mutex<()>>) {
        drop(gate);
        self.gates
            .remove_if(key, |_, gate| Arc::strong_count(gate) == 1);
    }
}
