//! One attempt at a build: resolve, build, push; and what becomes of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use kiln_api::{BuildState, Failure, FailureClass};
use kiln_lock::{ImageInputs, ImageKey};
use kiln_oci::{Platform, Reference};
use kiln_registry::Probe;
use kiln_resolve::Resolved;
use kiln_spec::Definition;
use kiln_store::{BuildRow, NewImage};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::active::ActiveBuild;
use crate::archives::StoredArchives;
use crate::backend::{Backend, BuildJob, Built, Reporter};
use crate::commit::PushNote;
use crate::engine::{Inner, Key};
use crate::error::{of_io, of_registry, of_store};
use crate::failpoint::failpoint;
use crate::log::BuildLog;
use crate::submission::labels;

/// What an attempt works with.
pub(crate) struct Run {
    pub(crate) inner: Arc<Inner>,
    pub(crate) key: Key,
    pub(crate) build: BuildRow,
    pub(crate) definition: Definition,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) access: Arc<Access>,
    pub(crate) active: Arc<ActiveBuild>,
    pub(crate) log: Arc<BuildLog>,
    /// The time since the build was first begun.
    pub(crate) spent: Duration,
    /// When this attempt began.
    pub(crate) began: Instant,
    /// What an earlier attempt was about to push, or pushed.
    pub(crate) pushed: Option<NewImage>,
}

/// How an attempt ended.
pub(crate) enum Outcome {
    /// The image is in the registry.
    Pushed(NewImage),
    /// It is not, and why.
    Failed(Failure),
    /// Another worker has the build, or may have it: nothing of this attempt counts.
    Lost,
}

impl Run {
    /// Works on the build and writes how that ended, whatever happens in between.
    pub(crate) async fn attempt(self) {
        if self.build.attempt > 1 {
            self.log.note(&format!("attempt {}", self.build.attempt));
        }
        let attempt = self.active.cancel.child_token();
        let work_dir = self.inner.settings.work_dir.join(&self.build.id);
        let outcome = {
            let steps = std::panic::AssertUnwindSafe(self.steps(&attempt, work_dir.clone()));
            let mut steps = Box::pin(steps.catch_unwind());
            let lost = self.inner.lease_lost(&self.build.id, self.build.fence);
            let ended = tokio::select! {
                ended = &mut steps => Some(ended),
                () = lost => None,
                () = self.inner.stop.cancelled() => None,
            };
            match ended {
                Some(Ok(outcome)) => outcome,
                Some(Err(_)) => Outcome::Failed(Failure::new(
                    FailureClass::Internal,
                    format!("a fault in kiln stopped the build {}", self.build.id),
                    "see kiln's own log, and tell the maintainers",
                )),
                None => {
                    // What runs elsewhere is stopped before anybody else may begin.
                    attempt.cancel();
                    let _ = steps.await;
                    Outcome::Lost
                }
            }
        };
        remove(work_dir).await;
        self.conclude(outcome).await;
    }

    async fn steps(&self, cancel: &CancellationToken, work_dir: PathBuf) -> Outcome {
        match self.image(cancel, work_dir).await {
            Ok(image) => Outcome::Pushed(image),
            Err(failure) => Outcome::Failed(failure),
        }
    }

    async fn image(
        &self,
        cancel: &CancellationToken,
        work_dir: PathBuf,
    ) -> Result<NewImage, Failure> {
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        if let Some(image) = self.pushed_before().await? {
            return Ok(image);
        }
        self.enter(BuildState::Resolving).await?;
        self.backend.check().await?;
        let resolved = stoppable(self.resolved(cancel), cancel).await?;
        let lock_hash = resolved.lock.hash();
        let image_key = ImageKey::of(
            lock_hash,
            &ImageInputs {
                spec_hash: self.key.1,
                environment_variables: self.definition.environment_variables.clone(),
                interpreter_path: self.definition.python.interpreter_path.clone(),
                backend: self.backend.name().to_owned(),
            },
        );
        let planned = Planned {
            repository: self.build.repository.clone(),
            backend: self.backend.name().to_owned(),
            lock_hash: lock_hash.to_hex(),
            image_key: image_key.to_hex(),
        };
        if let Some(image) = self.existing(&planned).await? {
            return Ok(image);
        }
        let reporter: &dyn Reporter = self.log.as_ref();
        let archives = self.inner.held_archives(Some(&self.build.id));
        self.inner
            .fetch(&resolved.lock, archives, &self.access, reporter, cancel)
            .await?;
        failpoint("before-building");
        self.enter(BuildState::Building).await?;
        let built = self
            .build(&resolved, planned.clone(), cancel, work_dir)
            .await?;
        self.verify(built.digest).await?;
        Ok(planned.image(&built))
    }

    async fn resolved(&self, cancel: &CancellationToken) -> Result<Resolved, Failure> {
        let reporter: &dyn Reporter = self.log.as_ref();
        let build = Some((self.build.id.as_str(), self.build.fence));
        self.inner
            .resolve(
                &self.key,
                &self.definition,
                build,
                self.build.refresh,
                &self.access,
                reporter,
                cancel,
            )
            .await
    }

    /// What an earlier attempt pushed, when the registry has it.
    async fn pushed_before(&self) -> Result<Option<NewImage>, Failure> {
        let Some(image) = &self.pushed else {
            return Ok(None);
        };
        match self.probe(image.digest).await? {
            Probe::Present { .. } => {
                self.log
                    .note("the image was pushed before the interruption");
                Ok(Some(image.clone()))
            }
            Probe::Absent => Ok(None),
            Probe::Unknown(error) => Err(of_registry(&error)),
        }
    }

    /// The image of an equal key, when the registry still has it.
    async fn existing(&self, planned: &Planned) -> Result<Option<NewImage>, Failure> {
        let records = self.inner.store.records();
        let row = records
            .image_by_key(&self.key.0, &planned.image_key)
            .await
            .map_err(|error| of_store(&error))?;
        let Some(row) = row.filter(|row| row.repository == planned.repository) else {
            return Ok(None);
        };
        match self.probe(row.digest).await? {
            Probe::Present { .. } => {
                self.log.note("an equal image exists already");
                Ok(Some(planned.image(&Built {
                    digest: row.digest,
                    size_bytes: row.size_bytes,
                })))
            }
            Probe::Absent => Ok(None),
            Probe::Unknown(error) => Err(of_registry(&error)),
        }
    }

    async fn build(
        &self,
        resolved: &Resolved,
        image: Planned,
        cancel: &CancellationToken,
        work_dir: PathBuf,
    ) -> Result<Built, Failure> {
        // What a killed process left of an earlier attempt.
        remove(work_dir.clone()).await;
        fs_err::tokio::create_dir_all(&work_dir)
            .await
            .map_err(|error| of_io("kiln's work folder", &error))?;
        let platform: Platform = self.definition.platform.parse().unwrap_or_default();
        let base = resolved.base.as_ref().map(|base| &base.reference);
        let pull_credentials = self.access.pull_credentials(base).await;
        let inner = &self.inner;
        let context = inner
            .user_context(&self.key.0, &self.definition.base)
            .await?;
        let mut labels = labels(&self.key.1, &resolved.lock, self.backend.name());
        let has_private =
            context.is_some() || inner.has_private(&self.key.0, &resolved.lock).await?;
        labels.extend(self.access.scope_label(&self.key.0, has_private));
        let job = BuildJob {
            build_id: self.build.id.clone(),
            definition: self.definition.clone(),
            spec_hash: self.key.1,
            lock: resolved.lock.clone(),
            platform,
            facts: resolved.facts.clone(),
            base: resolved.base.clone(),
            context,
            repository: self.repository()?,
            labels,
            archives: Arc::new(StoredArchives(self.inner.store.blobs().clone())),
            registry: self.access.registry.clone(),
            pull_credentials,
            work_dir,
            extra_ca: self.inner.settings.extra_ca.clone(),
            timeout: self.inner.settings.build_timeout,
            anew: false,
            before_manifest: Arc::new(PushNote {
                inner: Arc::clone(&self.inner),
                build_id: self.build.id.clone(),
                fence: self.build.fence,
                image,
            }),
        };
        let reporter = Arc::new(RunReporter {
            log: Arc::clone(&self.log),
            active: Arc::clone(&self.active),
        });
        self.backend.build(job, reporter, cancel.clone()).await
    }

    async fn enter(&self, state: BuildState) -> Result<(), Failure> {
        self.log.phase(state);
        let records = self.inner.store.records();
        let moved = records
            .advance(&self.build.id, self.build.fence, state.as_str())
            .await;
        if !moved.map_err(|error| of_store(&error))? {
            return Err(taken_over(&self.build.id));
        }
        self.active.state(state);
        Ok(())
    }

    pub(crate) fn repository(&self) -> Result<Reference, Failure> {
        let repository = &self.build.repository;
        repository
            .parse()
            .map_err(|error: kiln_oci::ParseReferenceError| {
                Failure::new(
                    FailureClass::Invalid,
                    format!("{repository} is no repository: {error}"),
                    "give --registry as HOST[/PREFIX]",
                )
            })
    }
}

/// What is known of an image before it is built.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) repository: String,
    pub(crate) backend: String,
    pub(crate) lock_hash: String,
    pub(crate) image_key: String,
}

impl Planned {
    /// The image that was built.
    pub(crate) fn image(&self, built: &Built) -> NewImage {
        NewImage {
            repository: self.repository.clone(),
            digest: built.digest,
            image_key: self.image_key.clone(),
            lock_hash: self.lock_hash.clone(),
            backend: self.backend.clone(),
            size_bytes: built.size_bytes,
        }
    }
}

/// The failure of an attempt whose fence is stale; it is written nowhere.
pub(crate) fn taken_over(build_id: &str) -> Failure {
    Failure::new(
        FailureClass::Internal,
        format!("the build {build_id} was taken over"),
        "ask again: the other worker's result counts",
    )
}

/// Work that holds nothing outside this process ends by being dropped.
async fn stoppable<T>(
    work: impl Future<Output = Result<T, Failure>>,
    cancel: &CancellationToken,
) -> Result<T, Failure> {
    tokio::select! {
        result = work => result,
        () = cancel.cancelled() => Err(cancelled()),
    }
}

pub(crate) fn cancelled() -> Failure {
    Failure::new(
        FailureClass::Cancelled,
        "the build was cancelled",
        "ask again to build it",
    )
}

/// Removes a folder of work; what can't be removed now is swept at the next start.
async fn remove(folder: PathBuf) {
    match fs_err::tokio::remove_dir_all(&folder).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(%error, "a work folder could not be removed");
        }
        _ => {}
    }
}

/// Writes a backend's progress to the log, and its phases to the waiters.
struct RunReporter {
    log: Arc<BuildLog>,
    active: Arc<ActiveBuild>,
}

impl Reporter for RunReporter {
    fn phase(&self, phase: BuildState) {
        self.log.phase(phase);
        self.active.state(phase);
    }

    fn step(&self, step: crate::backend::Step) {
        self.log.step(step);
    }

    fn line(&self, step: &str, text: &str) {
        self.log.line(step, text);
    }
}
