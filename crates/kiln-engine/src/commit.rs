//! The end of an attempt: verified by digest, READY in the store, then tags; or the failure, or
//! another try. Each step can be repeated by the next process.

use std::sync::Arc;

use async_trait::async_trait;
use kiln_api::{BuildState, BuildStatus, Failure, FailureClass};
use kiln_oci::{Digest, Reference};
use kiln_registry::{Probe, RegistryClient, TagRule};
use kiln_store::{Finish, ImageRow, NewImage, Remember};

use crate::backend::{BeforeManifest, Built, Reporter as _};
use crate::engine::Inner;
use crate::error::{of_registry, of_store};
use crate::failpoint::failpoint;
use crate::lookup::Hit;
use crate::retry;
use crate::run::{Outcome, Planned, Run, taken_over};
use crate::settings::Verify;

/// Writes the digest to the build's row before the manifest is pushed: after a crash the next process
/// looks for it in the registry, and builds nothing when it is there.
pub(crate) struct PushNote {
    pub(crate) inner: Arc<Inner>,
    pub(crate) build_id: String,
    pub(crate) fence: i64,
    pub(crate) image: Planned,
}

#[async_trait]
impl BeforeManifest for PushNote {
    async fn note(&self, built: &Built) -> Result<(), Failure> {
        let image = self.image.image(built);
        failpoint("before-push-note");
        let records = self.inner.store.records();
        let noted = records
            .note_pushed(&self.build_id, self.fence, &image)
            .await;
        if !noted.map_err(|error| of_store(&error))? {
            return Err(taken_over(&self.build_id));
        }
        failpoint("before-manifest");
        Ok(())
    }
}

impl Run {
    /// The registry has the manifest, or the build is not READY.
    pub(crate) async fn verify(&self, digest: Digest) -> Result<(), Failure> {
        failpoint("before-verify");
        match self.probe(digest).await? {
            Probe::Present { digest: found, .. } if found == digest => Ok(()),
            Probe::Present { .. } | Probe::Absent => Err(Failure::new(
                FailureClass::Registry,
                format!(
                    "{} took the image {digest} but does not have it",
                    self.build.repository
                ),
                "check the registry's storage, then ask again",
            )),
            Probe::Unknown(error) => Err(of_registry(&error)),
        }
    }

    pub(crate) async fn probe(&self, digest: Digest) -> Result<Probe, Failure> {
        let reference = self.repository()?.with_digest(digest);
        Ok(self.access.registry.probe(&reference).await)
    }

    /// Writes how the attempt ended.
    pub(crate) async fn conclude(&self, outcome: Outcome) {
        match outcome {
            Outcome::Pushed(image) => self.ready(image).await,
            Outcome::Failed(failure) => self.failed(failure).await,
            Outcome::Lost => self.park().await,
        }
    }

    /// Gives the build back: the process ends, or another worker has it already.
    async fn park(&self) {
        failpoint("before-release");
        let records = self.inner.store.records();
        match records.release(&self.build.id, self.build.fence).await {
            Ok(true) => self
                .log
                .note("kiln stops; the build goes on when it is back"),
            Ok(false) => {
                tracing::warn!(build.id = %self.build.id, "a build went to another worker");
            }
            Err(error) => {
                tracing::error!(%error, build.id = %self.build.id, "a build could not be given back");
            }
        }
        self.active.state(BuildState::Queued);
    }

    async fn ready(&self, image: NewImage) {
        failpoint("before-ready");
        let records = self.inner.store.records();
        let finished = records
            .finish_ready(&self.build.id, self.build.fence, &image)
            .await;
        let row = match finished {
            Ok(Finish::Done(row)) => row,
            Ok(Finish::Stale) => return self.park().await,
            Err(error) => return self.failed(of_store(&error)).await,
        };
        failpoint("before-tags");
        let hit = Hit::of(&row).verified_now();
        self.inner.hits.insert(self.key.clone(), hit);
        let tagging = self.inner.tag(&self.access.registry, &row, true).await;
        match tagging {
            Ok(()) => {
                failpoint("after-tags");
                self.inner.tagged(&self.key, row.generation).await;
            }
            Err(failure) => {
                self.log
                    .note(&format!("the tags could not be set: {}", failure.message));
            }
        }
        self.log.note(&format!(
            "{}@{} is ready as generation {} after {:.1} s",
            row.repository,
            row.digest,
            row.generation,
            self.began.elapsed().as_secs_f64()
        ));
        self.log.phase(BuildState::Ready);
        let status = BuildStatus {
            state: BuildState::Ready,
            image: Some(format!("{}@{}", row.repository, row.digest)),
            generation: Some(row.generation),
            ..self.active.status.borrow().clone()
        };
        self.inner.over(&self.key, &self.active, status);
    }

    async fn failed(&self, failure: Failure) {
        self.log
            .note(&format!("error ({}): {}", failure.class, failure.message));
        let wanted = !self.active.cancel.is_cancelled();
        let budget = self.inner.settings.retry_budget;
        let spent = self.spent + self.began.elapsed();
        match retry::delay(&failure, &self.build, spent, budget).filter(|_| wanted) {
            Some(delay) => self.again(failure, delay).await,
            None => self.end(failure).await,
        }
    }

    /// The build waits, and is tried again.
    async fn again(&self, failure: Failure, delay: std::time::Duration) {
        let json = serde_json::to_string(&failure).expect("a failure is plain data");
        let records = self.inner.store.records();
        let (id, fence) = (&self.build.id, self.build.fence);
        failpoint("before-retry");
        match records.retry_at(id, fence, delay, &json).await {
            Ok(true) => {
                let seconds = delay.as_secs_f64();
                self.log
                    .note(&format!("it is tried again in {seconds:.0} s"));
                tracing::info!(build.id = %id, class = %failure.class, "a build is tried again in {seconds:.0} s: {}", failure.message);
                self.log.phase(BuildState::Queued);
                self.active.state(BuildState::Queued);
                // The worker computes its sleep anew.
                self.inner.work.notify_one();
            }
            Ok(false) => tracing::warn!(build.id = %id, "a build went to another worker"),
            // The lease lapses, and the build is claimed again.
            Err(error) => {
                tracing::error!(%error, build.id = %id, "a failed build could not be put back");
            }
        }
    }

    async fn end(&self, failure: Failure) {
        self.log.note(&format!("help: {}", failure.remedy));
        let state = match failure.class {
            FailureClass::Cancelled => BuildState::Cancelled,
            _ => BuildState::Failed,
        };
        let json = serde_json::to_string(&failure).expect("a failure is plain data");
        let remember = (!failure.retryable).then(|| Remember {
            settings: self.inner.settings.resolver_key.clone(),
            class: failure.class.as_str().to_owned(),
            lasts: self.inner.settings.remember_failure,
        });
        failpoint("before-failed");
        let records = self.inner.store.records();
        let (id, fence) = (&self.build.id, self.build.fence);
        match records
            .finish_failed(id, fence, state.as_str(), &json, remember)
            .await
        {
            Ok(true) => {}
            Ok(false) => return tracing::warn!(build.id = %id, "a build went to another worker"),
            Err(error) => {
                tracing::error!(%error, build.id = %id, "a failed build could not be recorded");
                if self.inner.settings.verify == Verify::Background {
                    // The lease lapses, and the build is claimed again: it was accepted.
                    return;
                }
                // A process that ends with its answer waits for no better times; the next one finds the row.
            }
        }
        self.log.phase(state);
        tracing::info!(build.id = %id, class = %failure.class, "a build failed: {}", failure.message);
        let status = BuildStatus {
            state,
            error: Some(failure),
            ..self.active.status.borrow().clone()
        };
        self.inner.over(&self.key, &self.active, status);
    }
}

impl Inner {
    /// One tag per generation, and `latest` for the current one. The digest is what counts: a tag that
    /// could not be set is set at the next start or check.
    pub(crate) async fn tag(
        &self,
        registry: &RegistryClient,
        image: &ImageRow,
        is_current: bool,
    ) -> Result<(), Failure> {
        let reference: Reference = format!("{}@{}", image.repository, image.digest)
            .parse()
            .expect("kiln wrote the reference");
        let generation = image.generation.to_string();
        let latest = is_current.then_some("latest");
        for tag in [generation.as_str()].into_iter().chain(latest) {
            let tag = tag.parse().expect("kiln's tags are numbers and `latest`");
            let set = registry.put_tag(&reference, &tag, TagRule::Move).await;
            set.map_err(|error| of_registry(&error))?;
        }
        Ok(())
    }
}
