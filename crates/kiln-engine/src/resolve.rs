//! From a definition to a lock that is committed, and to archives that are there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use kiln_api::Failure;
use kiln_lock::Lock;
use kiln_resolve::{FetchProgress, Phase, Progress, ResolveRequest, Resolved, archives};
use kiln_spec::Definition;
use kiln_store::Scope;
use tokio::sync::OwnedRwLockReadGuard;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::archives::{HeldArchives, StoredArchives};
use crate::backend::{Archives, Reporter, Step, Unit};
use crate::engine::{Engine, Inner, Key};
use crate::error::{EngineError, of_resolve, of_store, timed_out};
use crate::failpoint::failpoint;
use crate::run::taken_over;
use crate::submission::Submission;
use crate::wheels::ScopeWheels;

/// A resolved definition and where its archives lie.
pub struct Locked {
    /// The lock, the base, and the facts about it.
    pub resolved: Resolved,
    /// The archives; empty unless they were asked for.
    pub archives: Arc<dyn Archives>,
    /// No collection takes them away meanwhile.
    _kept: OwnedRwLockReadGuard<()>,
}

impl Engine {
    /// Resolves without building: the definition's lock, made now where there is none or a refresh is
    /// asked for, and committed.
    pub async fn lock(&self, submission: &Submission, fetch: bool) -> Result<Locked, Failure> {
        let inner = &self.inner;
        let scope = &submission.scope;
        inner
            .keep_credentials(scope, &submission.parsed.credentials)
            .await
            .map_err(|error| of_store(&error))?;
        let access = inner.build_access(scope).await?;
        let key = (scope.clone(), submission.spec_hash);
        let cancel = inner.stop.child_token();
        let kept = Arc::clone(&inner.collecting).read_owned().await;
        let archives = inner.held_archives(None);
        let quiet = Quiet;
        let definition = &submission.parsed.definition;
        let refresh = submission.options.refresh;
        let resolved = inner
            .resolve(&key, definition, None, refresh, &access, &quiet, &cancel)
            .await?;
        if fetch {
            inner
                .fetch(&resolved.lock, archives, &access, &quiet, &cancel)
                .await?;
        }
        Ok(Locked {
            resolved,
            archives: Arc::new(StoredArchives(inner.store.blobs().clone())),
            _kept: kept,
        })
    }
}

impl Inner {
    /// The stored lock of a definition, or a new one; committed when this returns.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a resolution needs, from two callers"
    )]
    pub(crate) async fn resolve(
        &self,
        key: &Key,
        definition: &Definition,
        build: Option<(&str, i64)>,
        refresh: bool,
        access: &Access,
        reporter: &dyn Reporter,
        cancel: &CancellationToken,
    ) -> Result<Resolved, Failure> {
        let stored = if refresh {
            None
        } else {
            self.stored_lock(key).await?
        };
        let archives = self.held_archives(build.map(|(id, _)| id));
        let request = self.resolve_request(&key.0, definition, archives, access);
        let progress = ResolveProgress {
            reporter,
            last: Mutex::new(None),
        };
        let resolved = self
            .resolve_or_reuse(&request, stored, &progress, cancel)
            .await?;
        for warning in &resolved.warnings {
            reporter.line("resolve", warning);
        }
        for note in &resolved.lock.notes {
            reporter.line("resolve", note);
        }
        let (hash, json) = (resolved.lock.hash().to_hex(), resolved.lock.to_json());
        let canonical = definition.canonical_json();
        failpoint("before-lock");
        let kept = self
            .store
            .records()
            .put_lock(&key.0, &key.1, &canonical, build, &hash, &json)
            .await
            .map_err(|error| of_store(&error))?;
        match build {
            Some((id, _)) if !kept => Err(taken_over(id)),
            _ => Ok(resolved),
        }
    }

    /// A question to the resolver.
    pub(crate) fn resolve_request(
        &self,
        scope: &Scope,
        definition: &Definition,
        archives: HeldArchives,
        access: &Access,
    ) -> ResolveRequest {
        ResolveRequest {
            definition: definition.clone(),
            scope: scope.to_string(),
            credentials: access.credentials.clone(),
            registry: access.registry.clone(),
            archives: Arc::new(archives),
            wheels: Arc::new(ScopeWheels {
                store: self.store.clone(),
                scope: scope.clone(),
            }),
            settings: self.settings.resolver.clone(),
        }
    }

    /// Resolves within the time there is; writes nothing.
    pub(crate) async fn resolve_or_reuse(
        &self,
        request: &ResolveRequest,
        stored: Option<Lock>,
        progress: &dyn Progress,
        cancel: &CancellationToken,
    ) -> Result<Resolved, Failure> {
        // Boxed: a resolution's state is large, and every future around it would carry it.
        let resolving = Box::pin(async {
            match stored {
                Some(lock) => self.resolver.reuse(request, lock).await,
                None => self.resolver.resolve(request, progress, cancel).await,
            }
        });
        let resolved = within(self.settings.resolve_timeout, "resolving", resolving).await?;
        resolved.map_err(|error| of_resolve(&error))
    }

    /// The blob store for a build, or for who holds off collections.
    pub(crate) fn held_archives(&self, build: Option<&str>) -> HeldArchives {
        HeldArchives {
            store: self.store.clone(),
            build: build.map(str::to_owned),
        }
    }

    pub(crate) async fn stored_lock(&self, key: &Key) -> Result<Option<Lock>, Failure> {
        let json = self.store.records().lock_of(&key.0, &key.1).await;
        let json = json.map_err(|error| of_store(&error))?;
        // A lock of another format's version is made anew.
        Ok(json.and_then(|json| Lock::from_json(&json).ok()))
    }

    /// Fetches what the blob store does not have of a lock's archives.
    pub(crate) async fn fetch(
        &self,
        lock: &Lock,
        store: HeldArchives,
        access: &Access,
        reporter: &dyn Reporter,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let report = |progress: FetchProgress| reporter.step(fetch_step(progress));
        let all = archives(lock);
        let fetcher = self.resolver.fetcher(&access.credentials);
        let fetching = fetcher.fetch(&all, &store, &report, cancel);
        let fetched = within(self.settings.resolve_timeout, "fetching packages", fetching).await?;
        fetched.map_err(|error| of_resolve(&kiln_resolve::ResolveError::Fetch(error)))
    }
}

async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = T>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, work)
        .await
        .map_err(|_| timed_out(what, limit))
}

fn fetch_step(progress: FetchProgress) -> Step {
    Step {
        name: "fetch packages".into(),
        done: progress.bytes_done,
        total: (progress.bytes_total > 0).then_some(progress.bytes_total),
        unit: Unit::Bytes,
        finished: progress.archives_done == progress.archives_total,
    }
}

/// Writes the phases of a resolution as lines, each once.
struct ResolveProgress<'a> {
    reporter: &'a dyn Reporter,
    last: Mutex<Option<&'static str>>,
}

/// For resolutions that nobody follows.
pub(crate) struct Silent;

impl Progress for Silent {
    fn phase(&self, _phase: Phase) {}
}

impl Progress for ResolveProgress<'_> {
    fn phase(&self, phase: Phase) {
        let text = match phase {
            Phase::Base => "looking at the base image",
            Phase::Conda => "solving the conda packages",
            Phase::Pypi => "resolving the pip requirements",
            Phase::Fetch(progress) => {
                self.reporter.step(fetch_step(progress));
                "reading the conda packages that bring python distributions"
            }
        };
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if *last != Some(text) {
            *last = Some(text);
            self.reporter.line("resolve", text);
        }
    }
}

/// For resolutions that nobody follows.
pub(crate) struct Quiet;

impl Reporter for Quiet {
    fn phase(&self, _phase: kiln_api::BuildState) {}
    fn step(&self, _step: Step) {}
    fn line(&self, _step: &str, text: &str) {
        tracing::debug!("{text}");
    }
}

impl From<Failure> for EngineError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
