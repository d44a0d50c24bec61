//! The engine: what is asked of it, and who gets which answer.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use kiln_api::{BackendChoice, BuildList, BuildState, BuildStatus, Defaults};
use kiln_registry::CredentialSource;
use kiln_resolve::Resolver;
use kiln_spec::SpecHash;
use kiln_store::{Scope, Store};
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::{Access, ConnectRegistry};
use crate::active::{ActiveBuild, Ticket};
use crate::backend::Backend;
use crate::error::EngineError;
use crate::log::Logs;
use crate::lookup::Hit;
use crate::settings::EngineSettings;
use crate::submission::Submission;

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
    default_bases: (String, String),
    /// Builds that run in this process, by definition.
    pub(crate) active: DashMap<Key, (String, Arc<ActiveBuild>)>,
    /// Images known to be current, by definition.
    pub(crate) hits: DashMap<Key, Hit>,
    /// One at a time looks for a definition's image; the others find what it found.
    gates: DashMap<Key, Arc<Mutex<()>>>,
    pub(crate) slots: Semaphore,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

impl Engine {
    /// Puts the engine together; [`Self::recover`] goes on with what an earlier process left.
    pub fn new(parts: Parts) -> Self {
        let slots = Semaphore::new(parts.settings.max_builds);
        Self {
            inner: Arc::new(Inner {
                store: parts.store,
                resolver: parts.resolver,
                connect_registry: parts.connect_registry,
                operator_logins: parts.operator_logins,
                accesses: DashMap::new(),
                backends: parts.backends,
                logs: parts.logs,
                settings: parts.settings,
                default_bases: parts.default_bases,
                active: DashMap::new(),
                hits: DashMap::new(),
                gates: DashMap::new(),
                slots,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Gets the image of a definition, or starts or joins the build that makes it.
    pub async fn submit(&self, submission: Submission) -> Result<Ticket, EngineError> {
        let engine = &self.inner;
        if engine.stop.is_cancelled() {
            return Err(EngineError::Stopping);
        }
        let key = (submission.scope.clone(), submission.spec_hash);
        let destination = engine.destination(&submission)?;
        if !submission.options.refresh
            && let Some(hit) = engine.known(&key, &destination)
        {
            return Ok(Ticket::known(hit.status(&submission)));
        }
        if let Some(ticket) = engine.join(&key, &submission) {
            return Ok(ticket);
        }
        let gate = Arc::clone(&engine.gates.entry(key.clone()).or_default());
        let ticket = {
            let _one_at_a_time = gate.lock().await;
            self.look_and_start(&key, &destination, submission).await
        };
        drop(gate);
        engine
            .gates
            .remove_if(&key, |_, gate| Arc::strong_count(gate) == 1);
        ticket
    }

    async fn look_and_start(
        &self,
        key: &Key,
        destination: &str,
        submission: Submission,
    ) -> Result<Ticket, EngineError> {
        let engine = &self.inner;
        if let Some(ticket) = engine.join(key, &submission) {
            return Ok(ticket);
        }
        if !submission.options.refresh {
            if let Some(hit) = engine.find(key, destination, &submission).await? {
                return Ok(Ticket::known(hit.status(&submission)));
            }
            if let Some(ticket) = engine.remembered(key, &submission).await? {
                return Ok(ticket);
            }
        }
        let backend = self.choose(submission.options.backend)?;
        if submission.options.dry_run {
            return Ok(Ticket::known(BuildStatus {
                backend: Some(backend.name().to_owned()),
                ..status_of(&submission, BuildState::Queued)
            }));
        }
        self.start(key, destination, backend, submission).await
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

    /// Stops a build and waits until it is over.
    pub async fn cancel(&self, id: &str) -> Result<BuildStatus, EngineError> {
        let missing = || EngineError::NotFound {
            what: format!("build `{id}`"),
        };
        let build = self
            .inner
            .store
            .records()
            .build(id)
            .await?
            .ok_or_else(missing)?;
        let active = self
            .inner
            .active
            .get(&(build.scope.clone(), build.spec_hash));
        let active = active
            .filter(|entry| entry.0 == id)
            .map(|entry| Arc::clone(&entry.1));
        if let Some(active) = active {
            let mut updates = active.status.subscribe();
            active.cancel.cancel();
            // The sender lives in `active`: the wait ends with a final state.
            let _ = updates.wait_for(|status| status.state.is_final()).await;
        }
        let (_, status) = self.status(id).await?.ok_or_else(missing)?;
        Ok(status)
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
        !self.inner.stop.is_cancelled() && self.inner.store.records().ping().await.is_ok()
    }

    /// Takes no more work and waits for what runs; after the grace period it is left for the next
    /// start, which goes on with it.
    pub async fn shutdown(&self, grace: Duration) {
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
    /// Where a submission's image goes: `HOST[/PREFIX]`.
    fn destination(&self, submission: &Submission) -> Result<String, EngineError> {
        let registry = submission
            .options
            .registry
            .as_ref()
            .or(self.settings.registry.as_ref());
        registry.cloned().ok_or_else(|| EngineError::Invalid {
            message: "no registry is configured for images".into(),
            remedy: "give --registry HOST[/PREFIX], or set `registry` in the configuration".into(),
        })
    }

    /// The build of this definition that runs already.
    fn join(&self, key: &Key, submission: &Submission) -> Option<Ticket> {
        let active = self.active.get(key)?;
        let updates = active.1.status.subscribe();
        let status = BuildStatus {
            joined: true,
            cached: false,
            warnings: submission.warnings(),
            ..updates.borrow().clone()
        };
        Some(Ticket::running(status, updates))
    }

    /// Makes a build the active one of its definition.
    pub(crate) fn activate(&self, key: &Key, id: &str, status: BuildStatus) -> Arc<ActiveBuild> {
        let cancel = self.stop.child_token();
        let active = Arc::new(ActiveBuild {
            status: tokio::sync::watch::Sender::new(status),
            cancel,
        });
        match self.active.entry(key.clone()) {
            Entry::Occupied(mut entry) => {
                entry.insert((id.to_owned(), Arc::clone(&active)));
            }
            Entry::Vacant(entry) => {
                entry.insert((id.to_owned(), Arc::clone(&active)));
            }
        }
        active
    }
}

/// A status with nothing but the identity.
pub(crate) fn status_of(submission: &Submission, state: BuildState) -> BuildStatus {
    BuildStatus {
        name: submission.spec_hash.image_name(),
        image: None,
        spec_hash: submission.spec_hash.to_hex(),
        build_id: None,
        state,
        generation: None,
        cached: false,
        joined: false,
        error: None,
        warnings: submission.warnings(),
        backend: None,
    }
}
