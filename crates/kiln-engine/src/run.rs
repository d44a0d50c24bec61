//! One build from its row to READY, FAILED or CANCELLED.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt as _;
use kiln_api::{BuildState, BuildStatus, Failure, FailureClass};
use kiln_lock::{ImageInputs, ImageKey, Lock};
use kiln_oci::{Digest, Platform, Reference};
use kiln_registry::{Probe, TagRule};
use kiln_resolve::Resolved;
use kiln_spec::Definition;
use kiln_store::{BuildRow, Finish, NewBuild, NewImage, Remember, Started, Terms};
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::active::{ActiveBuild, Ticket};
use crate::archives::StoredArchives;
use crate::backend::{Backend, BuildJob, Built, Reporter};
use crate::engine::{Engine, Inner, Key, status_of};
use crate::error::{EngineError, of_io, of_registry, of_store};
use crate::log::BuildLog;
use crate::lookup::{Hit, repository};
use crate::submission::{Options, Submission, labels};

/// What a build's task works with.
pub(crate) struct Run {
    pub(crate) inner: Arc<Inner>,
    pub(crate) key: Key,
    pub(crate) build: BuildRow,
    pub(crate) definition: Definition,
    pub(crate) repository: String,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) options: Options,
    pub(crate) access: Arc<Access>,
    pub(crate) active: Arc<ActiveBuild>,
    pub(crate) log: Arc<BuildLog>,
}

/// A READY image.
struct Ready {
    digest: Digest,
    size_bytes: u64,
    lock: Lock,
    image_key: ImageKey,
}

impl Engine {
    /// Writes the build's row and starts its task; the row is committed when this returns.
    pub(crate) async fn start(
        &self,
        key: &Key,
        destination: &str,
        backend: Arc<dyn Backend>,
        submission: Submission,
    ) -> Result<Ticket, EngineError> {
        let inner = &self.inner;
        let records = inner.store.records();
        inner
            .keep_credentials(&key.0, &submission.parsed.credentials)
            .await?;
        let access = inner.access(&key.0).await?;
        let repository = repository(destination, &key.1);
        let new = NewBuild {
            canonical: submission.parsed.definition.canonical_json(),
            repository: repository.clone(),
            backend: backend.name().to_owned(),
            refresh: submission.options.refresh,
            actor: submission.origin.actor.clone(),
            via: submission.origin.via.clone(),
            terms: Terms::default(),
        };
        let (row, joined) = match records.begin_build(&key.0, &key.1, &new).await? {
            Started::New(row) => (row, false),
            Started::Joined(row) => (row, true),
            Started::Repeated(_) | Started::Conflict | Started::Full { .. } => {
                unreachable!("no such terms were asked for")
            }
        };
        let status = BuildStatus {
            build_id: Some(row.id.clone()),
            backend: Some(row.backend.clone()),
            joined,
            ..status_of(&submission, BuildState::Queued)
        };
        if joined {
            // Another process works on it: its rows tell how it ends.
            return Ok(Ticket::known(status));
        }
        let definition = submission.parsed.definition.clone();
        let updates = self.spawn(
            key.clone(),
            row,
            definition,
            backend,
            submission.options,
            access,
            status.clone(),
        )?;
        Ok(Ticket::running(status, updates))
    }

    /// Starts the task of a build whose row is there.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one `Run`, gathered here alone"
    )]
    pub(crate) fn spawn(
        &self,
        key: Key,
        build: BuildRow,
        definition: Definition,
        backend: Arc<dyn Backend>,
        options: Options,
        access: Arc<Access>,
        status: BuildStatus,
    ) -> Result<tokio::sync::watch::Receiver<BuildStatus>, EngineError> {
        let inner = Arc::clone(&self.inner);
        let log = inner.logs.create(&build.id, access.redactor.clone())?;
        let active = inner.activate(&key, &build.id, status);
        let repository = build.repository.clone();
        let updates = active.status.subscribe();
        let run = Run {
            inner,
            key,
            build,
            definition,
            repository,
            backend,
            options,
            access,
            active,
            log,
        };
        let tasks = self.inner.tasks.clone();
        tasks.spawn(run.finish());
        Ok(updates)
    }
}

impl Run {
    /// Runs the build and writes how it ended, whatever happens in between.
    async fn finish(self) {
        let cancel = self.active.cancel.clone();
        let began = Instant::now();
        let work_dir = self.inner.settings.work_dir.join(&self.build.id);
        let outcome = {
            let _slot = tokio::select! {
                slot = self.inner.slots.acquire() => slot.ok(),
                () = cancel.cancelled() => None,
            };
            let steps = std::panic::AssertUnwindSafe(self.steps(&cancel, work_dir.clone()));
            steps.catch_unwind().await.unwrap_or_else(|_| {
                Err(Failure::new(
                    FailureClass::Internal,
                    format!("a fault in kiln stopped the build {}", self.build.id),
                    "see kiln's own log, and tell the maintainers",
                ))
            })
        };
        remove(work_dir).await;
        if self.inner.stop.is_cancelled() && outcome.is_err() {
            // The process ends, not the build: the next start goes on with it.
            self.log
                .note("kiln stops; the build goes on when it is back");
            self.inner.logs.close(&self.build.id);
            self.inner
                .active
                .remove_if(&self.key, |_, (id, _)| *id == self.build.id);
            return;
        }
        let status = match outcome {
            Ok(ready) => self.ready(ready, began).await,
            Err(failure) => self.failed(failure).await,
        };
        self.inner.logs.close(&self.build.id);
        self.inner
            .active
            .remove_if(&self.key, |_, (id, _)| *id == self.build.id);
        self.active.status.send_replace(status);
    }

    async fn steps(&self, cancel: &CancellationToken, work_dir: PathBuf) -> Result<Ready, Failure> {
        if cancel.is_cancelled() {
            return Err(cancelled());
        }
        self.enter(BuildState::Resolving).await?;
        self.backend.check().await?;
        let reporter: &dyn Reporter = self.log.as_ref();
        let build = Some((self.build.id.as_str(), self.build.fence));
        let refresh = self.options.refresh;
        let resolving = self.inner.resolve(
            &self.key,
            &self.definition,
            build,
            refresh,
            &self.access,
            reporter,
            cancel,
        );
        let resolved = stoppable(resolving, cancel).await?;
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
        if let Some(ready) = self.existing(&resolved.lock, image_key).await? {
            return Ok(ready);
        }
        self.inner
            .fetch(&resolved.lock, &self.access, reporter, cancel)
            .await?;
        let archives = Arc::new(StoredArchives(self.inner.store.blobs().clone()));
        self.enter(BuildState::Building).await?;
        let built = self.build(&resolved, archives, cancel, work_dir).await?;
        self.verify(built.digest).await?;
        Ok(Ready {
            digest: built.digest,
            size_bytes: built.size_bytes,
            lock: resolved.lock,
            image_key,
        })
    }

    /// The image of an equal key, when the registry still has it.
    async fn existing(&self, lock: &Lock, key: ImageKey) -> Result<Option<Ready>, Failure> {
        let records = self.inner.store.records();
        let row = records
            .image_by_key(&self.key.0, &key.to_hex())
            .await
            .map_err(|e| of_store(&e))?;
        let Some(row) = row.filter(|row| row.repository == self.repository) else {
            return Ok(None);
        };
        match self
            .access
            .registry
            .probe(&self.reference(row.digest)?)
            .await
        {
            Probe::Present { .. } => {
                self.log.note("an equal image exists already");
                Ok(Some(Ready {
                    digest: row.digest,
                    size_bytes: row.size_bytes,
                    lock: lock.clone(),
                    image_key: key,
                }))
            }
            Probe::Absent => Ok(None),
            Probe::Unknown(error) => Err(of_registry(&error)),
        }
    }

    async fn build(
        &self,
        resolved: &Resolved,
        archives: Arc<StoredArchives>,
        cancel: &CancellationToken,
        work_dir: PathBuf,
    ) -> Result<Built, Failure> {
        fs_err::tokio::create_dir_all(&work_dir)
            .await
            .map_err(|error| of_io("kiln's work folder", &error))?;
        let platform: Platform = self.definition.platform.parse().unwrap_or_default();
        let base = resolved.base.as_ref().map(|base| &base.reference);
        let pull_credentials = self.access.pull_credentials(base).await;
        let job = BuildJob {
            build_id: self.build.id.clone(),
            definition: self.definition.clone(),
            spec_hash: self.key.1,
            lock: resolved.lock.clone(),
            platform,
            facts: resolved.facts.clone(),
            base: resolved.base.clone(),
            repository: self.repository_reference()?,
            labels: labels(&self.key.1, &resolved.lock, self.backend.name()),
            archives,
            registry: self.access.registry.clone(),
            pull_credentials,
            work_dir,
            extra_ca: self.inner.settings.extra_ca.clone(),
            timeout: self.inner.settings.build_timeout,
        };
        let reporter = Arc::new(RunReporter::new(self));
        self.backend.build(job, reporter, cancel.clone()).await
    }

    /// The registry has the manifest, or the build is not READY.
    async fn verify(&self, digest: Digest) -> Result<(), Failure> {
        match self.access.registry.probe(&self.reference(digest)?).await {
            Probe::Present { digest: found, .. } if found == digest => Ok(()),
            Probe::Present { .. } | Probe::Absent => Err(Failure::new(
                FailureClass::Registry,
                format!(
                    "{} took the image {digest} but does not have it",
                    self.repository
                ),
                "check the registry's storage, then ask again",
            )),
            Probe::Unknown(error) => Err(of_registry(&error)),
        }
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
        self.active
            .status
            .send_modify(|status| status.state = state);
        Ok(())
    }

    async fn ready(&self, ready: Ready, began: Instant) -> BuildStatus {
        let records = self.inner.store.records();
        let image = NewImage {
            repository: self.repository.clone(),
            digest: ready.digest,
            image_key: ready.image_key.to_hex(),
            lock_hash: ready.lock.hash().to_hex(),
            backend: self.backend.name().to_owned(),
            size_bytes: ready.size_bytes,
        };
        let row = match records
            .finish_ready(&self.build.id, self.build.fence, &image)
            .await
        {
            Ok(Finish::Done(row)) => row,
            Ok(Finish::Stale) => {
                return self.status_after(Failure::new(
                    FailureClass::Internal,
                    "another worker took the build over",
                    "ask again: the other worker's result counts",
                ));
            }
            Err(error) => return self.failed(of_store(&error)).await,
        };
        let hit = Hit {
            verified: Some(Instant::now()),
            ..Hit::of(&row)
        };
        self.inner.hits.insert(self.key.clone(), hit);
        self.tag(row.generation, ready.digest).await;
        self.log.note(&format!(
            "{}@{} is ready as generation {} after {:.1} s",
            self.repository,
            ready.digest,
            row.generation,
            began.elapsed().as_secs_f64()
        ));
        self.log.phase(BuildState::Ready);
        let mut status = self.active.status.borrow().clone();
        status.state = BuildState::Ready;
        status.image = Some(format!("{}@{}", self.repository, ready.digest));
        status.generation = Some(row.generation);
        status
    }

    /// One tag per generation, and `latest`; the digest is what counts, so a fault is told and no more.
    async fn tag(&self, generation: u64, digest: Digest) {
        for tag in [generation.to_string(), "latest".to_owned()] {
            if let Err(error) = self.set_tag(digest, &tag).await {
                tracing::warn!(image = %self.repository, tag, "an image could not be tagged: {}", error.message);
                self.log.note(&format!(
                    "the tag {tag} could not be set: {}",
                    error.message
                ));
            }
        }
    }

    /// Points a tag at a manifest that is there; the tag of a generation never moves.
    async fn set_tag(&self, digest: Digest, tag: &str) -> Result<(), Failure> {
        let rule = if tag == "latest" {
            TagRule::Move
        } else {
            TagRule::Keep
        };
        let tag = tag.parse().expect("kiln's tags are numbers and `latest`");
        let set = self
            .access
            .registry
            .put_tag(&self.reference(digest)?, &tag, rule)
            .await;
        set.map_err(|error| of_registry(&error))
    }

    async fn failed(&self, failure: Failure) -> BuildStatus {
        self.log
            .note(&format!("error ({}): {}", failure.class, failure.message));
        self.log.note(&format!("help: {}", failure.remedy));
        let state = match failure.class {
            FailureClass::Cancelled => BuildState::Cancelled,
            _ => BuildState::Failed,
        };
        self.log.phase(state);
        let json = serde_json::to_string(&failure).expect("a failure is plain data");
        let records = self.inner.store.records();
        let remember = (!failure.retryable).then(|| Remember {
            settings: self.inner.settings.resolver_key.clone(),
            class: failure.class.to_string(),
            lasts: self.inner.settings.remember_failure,
        });
        let ended = records.finish_failed(
            &self.build.id,
            self.build.fence,
            state.as_str(),
            &json,
            remember,
        );
        if let Err(error) = ended.await {
            tracing::error!(%error, build.id = %self.build.id, "a failed build could not be recorded");
        }
        tracing::info!(build.id = %self.build.id, class = %failure.class, "a build failed: {}", failure.message);
        self.status_after(failure)
    }

    fn status_after(&self, failure: Failure) -> BuildStatus {
        let mut status = self.active.status.borrow().clone();
        status.state = match failure.class {
            FailureClass::Cancelled => BuildState::Cancelled,
            _ => BuildState::Failed,
        };
        status.error = Some(failure);
        status
    }

    fn repository_reference(&self) -> Result<Reference, Failure> {
        self.repository
            .parse()
            .map_err(|error: kiln_oci::ParseReferenceError| {
                Failure::new(
                    FailureClass::Invalid,
                    format!("{} is no repository: {error}", self.repository),
                    "give --registry as HOST[/PREFIX]",
                )
            })
    }

    fn reference(&self, digest: Digest) -> Result<Reference, Failure> {
        Ok(self.repository_reference()?.with_digest(digest))
    }
}

/// Another worker has the build now.
pub(crate) fn taken_over(id: &str) -> Failure {
    Failure::new(
        FailureClass::Internal,
        format!("the build {id} was taken over"),
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

fn cancelled() -> Failure {
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

impl RunReporter {
    fn new(run: &Run) -> Self {
        Self {
            log: Arc::clone(&run.log),
            active: Arc::clone(&run.active),
        }
    }
}

impl Reporter for RunReporter {
    fn phase(&self, phase: BuildState) {
        self.log.phase(phase);
        self.active
            .status
            .send_modify(|status| status.state = phase);
    }

    fn step(&self, step: crate::backend::Step) {
        self.log.step(step);
    }

    fn line(&self, step: &str, text: &str) {
        self.log.line(step, text);
    }
}
