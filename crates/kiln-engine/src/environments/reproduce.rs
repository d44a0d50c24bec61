//! A version's image is made again from its recorded lock, and compared with what was recorded.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use kiln_api::{
    BackendChoice, EnvironmentId, Failure, FailureClass, Reproduction, ReproductionSide,
};
use kiln_lock::Lock;
use kiln_oci::{Platform, Reference};
use kiln_registry::ResolvedImage;
use kiln_resolve::Resolved;
use kiln_spec::Definition;
use kiln_store::{EnvironmentRow, ImageRow, Scope};
use tokio_util::sync::CancellationToken;

use super::diff::layer_change;
use super::read::image_of;
use crate::access::Access;
use crate::archives::StoredArchives;
use crate::backend::{BeforeManifest, BuildJob, Built, Reporter};
use crate::engine::{Engine, Inner};
use crate::error::{EngineError, of_io, of_registry};
use crate::resolve::{Quiet, Silent};
use crate::submission::labels;

impl Engine {
    /// Makes the image of a version again from the lock that was recorded for it, from nothing but
    /// the base and the archives, and compares the two. The new image is pushed by digest and gets no
    /// tag; what is current stays so. Dropping the future stops the work.
    ///
    /// # Errors
    /// The version was never built, or its lock is gone; the build fails, or what it installs is not
    /// what the lock says (`integrity`).
    pub async fn reproduce_environment(
        &self,
        scope: &Scope,
        row: &EnvironmentRow,
    ) -> Result<Reproduction, EngineError> {
        if !self.inner.taking_work() {
            return Err(EngineError::Stopping);
        }
        let recorded = self.recorded(scope, row).await?;
        let cancel = self.inner.stop.child_token();
        let stop = cancel.clone().drop_guard();
        let engine = self.clone();
        // A task: whoever asked may go away, and then everything is stopped in order.
        let work = self
            .inner
            .tasks
            .spawn(async move { Box::pin(engine.reproduce(recorded, &cancel)).await });
        let done = work.await;
        drop(stop);
        let done = done.map_err(|_| {
            Failure::new(
                FailureClass::Internal,
                "a fault in kiln stopped the work",
                "see kiln's own log, and tell the maintainers",
            )
        });
        done?.map_err(EngineError::Failed)
    }

    /// What is known of a version's image.
    async fn recorded(&self, scope: &Scope, row: &EnvironmentRow) -> Result<Recorded, EngineError> {
        let id = EnvironmentId {
            name: row.name.to_string(),
            version: row.version.to_string(),
        };
        let named = format!("{}:{}", id.name, id.version);
        let image = self.inner.recorded_image(scope, row).await?;
        let Some(image) = image else {
            return Err(EngineError::Invalid {
                message: format!("the environment {named} was not built yet"),
                remedy: "build it; its lock is recorded then".into(),
            });
        };
        let lock = self.inner.recorded_lock(scope, row, Some(&image)).await?;
        let Some(lock) = lock.filter(|_| image.lock_hash.is_some()) else {
            return Err(EngineError::Invalid {
                message: format!("the lock of {named} is not recorded here"),
                remedy:
                    "the image was found in the registry and not built by this kiln: ask for a \
                    refresh, which records a lock"
                        .into(),
            });
        };
        if image.lock_hash.as_deref() != Some(lock.hash().to_hex().as_str()) {
            return Err(EngineError::Failed(Failure::new(
                FailureClass::Integrity,
                format!(
                    "the recorded lock of {named} is not the one that its image was built from"
                ),
                "kiln's database is damaged: restore a backup of the data folder",
            )));
        }
        let parsed = row.document.parse(row.name.as_str());
        let definition = parsed.map_err(EngineError::Spec)?.definition;
        Ok(Recorded {
            scope: scope.clone(),
            id,
            row: row.clone(),
            image,
            lock,
            definition,
        })
    }

    async fn reproduce(
        &self,
        recorded: Recorded,
        cancel: &CancellationToken,
    ) -> Result<Reproduction, Failure> {
        let inner = &self.inner;
        // It takes a build's room.
        let slot = Arc::clone(&inner.slots).acquire_owned();
        let _slot = tokio::select! {
            slot = slot => slot.ok(),
            () = cancel.cancelled() => return Err(crate::run::cancelled()),
        };
        let choice = match recorded.image.backend.as_str() {
            "assemble" => BackendChoice::Assemble,
            _ => BackendChoice::Docker,
        };
        let backend = self.choose(choice).map_err(|error| error.failure())?;
        backend.check().await?;
        let access = inner.build_access(&recorded.scope).await?;
        let _kept = Arc::clone(&inner.collecting).read_owned().await;
        let request = inner.resolve_request(
            &recorded.scope,
            &recorded.definition,
            inner.held_archives(None),
            &access,
        );
        let lock = Some(recorded.lock.clone());
        let resolved = inner
            .resolve_or_reuse(&request, lock, &Silent, cancel)
            .await?;
        let archives = inner.held_archives(None);
        inner
            .fetch(&recorded.lock, archives, &access, &Quiet, cancel)
            .await?;
        let job = recorded.job(inner, &access, &resolved).await?;
        let work_dir = job.work_dir.clone();
        fs_err::tokio::create_dir_all(&work_dir)
            .await
            .map_err(|error| of_io("kiln's work folder", &error))?;
        let reporter: Arc<dyn Reporter> = Arc::new(Quiet);
        let built = backend.build(job, reporter, cancel.clone()).await;
        // What can't be removed now is swept later.
        let _ = fs_err::tokio::remove_dir_all(&work_dir).await;
        recorded.compare(&access, &built?).await
    }
}

/// A version that was built, and what it was built from.
struct Recorded {
    scope: Scope,
    id: EnvironmentId,
    row: EnvironmentRow,
    image: ImageRow,
    lock: Lock,
    definition: Definition,
}

impl Recorded {
    async fn job(
        &self,
        inner: &Inner,
        access: &Access,
        resolved: &Resolved,
    ) -> Result<BuildJob, Failure> {
        let id = uuid::Uuid::new_v4().to_string();
        let work_dir: PathBuf = inner.settings.work_dir.join(&id);
        let base = resolved.base.as_ref().map(|base| &base.reference);
        let context = inner
            .user_context(&self.scope, &self.definition.base)
            .await?;
        let mut labels = labels(&self.row.spec_hash, &self.lock, &self.image.backend);
        let has_private = context.is_some() || inner.has_private(&self.scope, &self.lock).await?;
        labels.extend(access.scope_label(&self.scope, has_private));
        Ok(BuildJob {
            build_id: id,
            definition: self.definition.clone(),
            spec_hash: self.row.spec_hash,
            lock: self.lock.clone(),
            platform: self.platform(),
            facts: resolved.facts.clone(),
            base: resolved.base.clone(),
            context,
            repository: self.repository()?,
            labels,
            archives: Arc::new(StoredArchives(inner.store.blobs().clone())),
            registry: access.registry.clone(),
            pull_credentials: access.pull_credentials(base).await,
            work_dir,
            extra_ca: inner.settings.extra_ca.clone(),
            timeout: inner.settings.build_timeout,
            anew: true,
            before_manifest: Arc::new(NoNote),
        })
    }

    fn platform(&self) -> Platform {
        self.definition.platform.parse().unwrap_or_default()
    }

    fn repository(&self) -> Result<Reference, Failure> {
        let repository = self.image.repository.parse();
        repository.map_err(|error: kiln_oci::ParseReferenceError| {
            Failure::new(
                FailureClass::Internal,
                format!("{} is no repository: {error}", self.image.repository),
                "kiln's database is damaged: restore a backup of the data folder",
            )
        })
    }

    /// Reads both images in the registry; the recorded one may be gone.
    async fn compare(&self, access: &Access, built: &Built) -> Result<Reproduction, Failure> {
        let built_image = self.repository()?.with_digest(built.digest);
        let platform = self.platform();
        let found = access.registry.resolve_platform(&built_image, &platform);
        let found = found.await.map_err(|error| of_registry(&error))?;
        let recorded_image = self.repository()?.with_digest(self.image.digest);
        let recorded = access.registry.resolve_platform(&recorded_image, &platform);
        let recorded = match recorded.await {
            Ok(recorded) => Some(recorded),
            Err(error) if error.kind() == kiln_registry::ErrorKind::NotFound => None,
            Err(error) => return Err(of_registry(&error)),
        };
        let lock_hash = self.lock.hash().to_hex();
        let built_lock = label(&found, "io.kiln.lock-hash").unwrap_or_default();
        let layers = recorded
            .as_ref()
            .map(|recorded| layer_change(&layers(recorded), &layers(&found)));
        Ok(Reproduction {
            environment: self.id.clone(),
            spec_hash: self.row.spec_hash.to_hex(),
            generation: self.image.generation,
            backend: self.image.backend.clone(),
            same_lock: built_lock == lock_hash,
            same_digest: built.digest == self.image.digest,
            packages: self.lock.conda.len() as u64 + self.lock.pip.len() as u64,
            recorded: ReproductionSide {
                image: image_of(&self.image),
                lock_hash,
                size_bytes: self.image.size_bytes,
            },
            recorded_is_there: recorded.is_some(),
            built: ReproductionSide {
                image: built_image.to_string(),
                lock_hash: built_lock,
                size_bytes: built.size_bytes,
            },
            layers,
        })
    }
}

fn label(image: &ResolvedImage, name: &str) -> Option<String> {
    image.config.config.labels.get(name).cloned()
}

fn layers(image: &ResolvedImage) -> Vec<(kiln_oci::Digest, u64)> {
    let layers = image.manifest.layers.iter();
    layers.map(|layer| (layer.digest, layer.size)).collect()
}

/// Nothing is READY by it, so nothing has to be found again after a crash.
struct NoNote;

#[async_trait]
impl BeforeManifest for NoNote {
    async fn note(&self, _built: &Built) -> Result<(), Failure> {
        Ok(())
    }
}
