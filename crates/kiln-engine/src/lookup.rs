//! Is there an image already? Memory, then the store, then the registry.

use std::sync::Arc;
use std::time::Instant;

use kiln_api::{BuildState, BuildStatus, Failure};
use kiln_oci::{Digest, Platform, Reference, Tag};
use kiln_registry::Probe;
use kiln_spec::SpecHash;
use kiln_store::{BaseOrigin, FoundImage, ImageRow};

use crate::access::{Access, SCOPE_LABEL, scope_digest};
use crate::active::{Ticket, failed};
use crate::engine::{Inner, Key};
use crate::error::EngineError;
use crate::settings::Verify;
use crate::submission::Submission;
use crate::verify::Seen;

/// A current image, as memory keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Hit {
    /// `HOST[/PREFIX]/azureml/azureml_<hash>`.
    pub(crate) repository: String,
    pub(crate) digest: Digest,
    pub(crate) generation: u64,
    pub(crate) build_id: Option<String>,
    pub(crate) backend: String,
    /// When a registry last said that it is there; `None` is not in this process's life.
    pub(crate) verified: Option<Instant>,
}

impl Hit {
    pub(crate) fn of(row: &ImageRow) -> Self {
        Self {
            repository: row.repository.clone(),
            digest: row.digest,
            generation: row.generation,
            build_id: row.build_id.clone(),
            backend: row.backend.clone(),
            verified: None,
        }
    }

    /// The same, seen in the registry now.
    pub(crate) fn verified_now(self) -> Self {
        Self {
            verified: Some(Instant::now()),
            ..self
        }
    }

    /// The answer with this image in it.
    pub(crate) fn status(&self, answer: BuildStatus) -> BuildStatus {
        BuildStatus {
            image: Some(format!("{}@{}", self.repository, self.digest)),
            build_id: self.build_id.clone(),
            generation: Some(self.generation),
            cached: true,
            backend: Some(self.backend.clone()),
            ..answer
        }
    }
}

/// The repository of a definition under a destination.
pub(crate) fn repository(destination: &str, hash: &SpecHash) -> String {
    format!("{destination}/{}", hash.image_name())
}

impl Inner {
    /// What memory knows, when it is not due to be verified first.
    pub(crate) fn known(self: &Arc<Self>, key: &Key, destination: &str) -> Option<Hit> {
        let hit = self.hits.get(key)?.clone();
        if hit.repository != repository(destination, &key.1) {
            return None;
        }
        let due = hit
            .verified
            .is_none_or(|at| at.elapsed() >= self.settings.verify_after);
        match (due, self.settings.verify) {
            (false, _) => Some(hit),
            (true, Verify::First) => None,
            (true, Verify::Background) => {
                self.verify_in_background(key.clone(), hit.clone());
                Some(hit)
            }
        }
    }

    /// Looks in the store and, when it knows nothing, in the registry.
    pub(crate) async fn find(
        self: &Arc<Self>,
        key: &Key,
        destination: &str,
        submission: &Submission,
    ) -> Result<Option<Hit>, EngineError> {
        let repository = repository(destination, &key.1);
        let stored = self.store.records().current_image(&key.0, &key.1).await?;
        if let Some(row) = stored.as_ref().filter(|row| row.repository == repository) {
            let mut hit = Hit::of(row);
            match self.settings.verify {
                Verify::Background => {
                    self.hits.insert(key.clone(), hit.clone());
                    self.verify_in_background(key.clone(), hit.clone());
                    return Ok(Some(hit));
                }
                Verify::First => {
                    if self.see(key, &hit).await == Seen::Gone {
                        self.forget(key, &hit).await;
                        return Ok(None);
                    }
                    hit.verified = Some(Instant::now());
                    self.hits.insert(key.clone(), hit.clone());
                    return Ok(Some(hit));
                }
            }
        }
        if stored.is_some() {
            return Ok(None);
        }
        self.find_in_registry(key, &repository, submission).await
    }

    /// Finds an image that another data folder's kiln pushed: `latest` with all 64 digits in its label.
    async fn find_in_registry(
        &self,
        key: &Key,
        repository: &str,
        submission: &Submission,
    ) -> Result<Option<Hit>, EngineError> {
        let Ok(latest) = format!("{repository}:latest").parse::<Reference>() else {
            return Ok(None);
        };
        let platform: Platform = submission
            .parsed
            .definition
            .platform
            .parse()
            .unwrap_or_default();
        let access = self.access(&key.0).await?;
        let image = match access.registry.probe(&latest).await {
            Probe::Present { .. } => access.registry.resolve_platform(&latest, &platform).await,
            Probe::Absent => return Ok(None),
            Probe::Unknown(error) => Err(error),
        };
        let image = match image {
            Ok(image) => image,
            Err(error) => {
                // The build that follows asks again, patiently, before it does anything.
                tracing::warn!(%error, image = %latest, "the registry could not be asked for an image");
                return Ok(None);
            }
        };
        let labels = &image.config.config.labels;
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        if label("io.kiln.spec-hash") != key.1.to_hex() {
            return Ok(None);
        }
        let owner = label(SCOPE_LABEL);
        if !owner.is_empty() && owner != scope_digest(&key.0) {
            // Another workspace made it with its own credentials: this one has to show that it can too.
            return Ok(None);
        }
        let generation = generation_tag(&access, &latest, image.manifest_digest)
            .await
            .unwrap_or(1);
        let backend = label("io.kiln.backend");
        let base = label("org.opencontainers.image.base.digest").parse();
        let base = base.ok().map(|manifest| BaseOrigin {
            reference: label("org.opencontainers.image.base.name"),
            index: None,
            manifest,
        });
        let found = FoundImage {
            repository: repository.to_owned(),
            digest: image.manifest_digest,
            generation,
            backend: if backend.is_empty() {
                "docker".into()
            } else {
                backend
            },
            size_bytes: image.manifest.blob_size(),
            base,
        };
        let canonical = submission.parsed.definition.canonical_json();
        let row = self
            .store
            .records()
            .adopt_image(&key.0, &key.1, &canonical, &found)
            .await?;
        let hit = Hit::of(&row).verified_now();
        self.hits.insert(key.clone(), hit.clone());
        Ok(Some(hit))
    }

    /// A failure that asking again would only repeat.
    pub(crate) async fn remembered(
        &self,
        key: &Key,
        submission: &Submission,
    ) -> Result<Option<Ticket>, EngineError> {
        if submission.options.retry {
            if submission.options.dry_run {
                return Ok(None);
            }
            self.store.records().forget_failure(&key.0, &key.1).await?;
            return Ok(None);
        }
        let settings = &self.settings.resolver_key;
        let Some(row) = self
            .store
            .records()
            .remembered_failure(&key.0, &key.1, settings)
            .await?
        else {
            return Ok(None);
        };
        let Ok(failure) = serde_json::from_str::<Failure>(&row.failure_json) else {
            return Ok(None);
        };
        let mut status = submission.status(BuildState::Failed);
        failed(&mut status, failure);
        status.build_id = row.build_id;
        status.cached = true;
        Ok(Some(Ticket::known(status)))
    }
}

/// The highest numeric tag that points at the digest.
async fn generation_tag(access: &Access, latest: &Reference, digest: Digest) -> Option<u64> {
    let tags = access.registry.list_tags(latest).await.ok()?;
    let mut numbers: Vec<u64> = tags
        .iter()
        .filter_map(|tag| tag.as_str().parse().ok())
        .collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    for number in numbers {
        let tag: Tag = number.to_string().parse().ok()?;
        let probe = access.registry.probe(&latest.with_tag(tag)).await;
        if matches!(probe, Probe::Present { digest: found, .. } if found == digest) {
            return Some(number);
        }
    }
    None
}
