//! What registries tell: a base moved, an image is gone.

use kiln_api::BackendChoice;
use kiln_oci::{Digest, Reference};
use kiln_store::{BaseName, KnownImage};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::lookup::Hit;
use crate::submission::{Options, Origin, Submission};
use crate::verify::Seen;

/// Images that one change is applied to between two looks at the store.
const PAGE: u32 = 100;

/// What a change of a base does to what was built on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBaseChange {
    /// It is marked as outdated, and its workspace's hooks are told.
    #[default]
    Mark,
    /// It is refreshed too: its next generation is built.
    Refresh,
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Changed {
    /// Images that are outdated now and were not.
    pub outdated: u64,
    /// Refreshes that were accepted.
    pub refreshed: u64,
    /// Images that are known to be lost now and were not.
    pub lost: u64,
}

impl Engine {
    /// A tag points at another manifest now. Images that were built on the same content stay as they
    /// are.
    pub async fn base_changed(
        &self,
        base: &Reference,
        digest: Option<Digest>,
        policy: OnBaseChange,
        origin: &Origin,
    ) -> Result<Changed, EngineError> {
        let records = self.inner.store.records();
        let plain = match base.tag() {
            Some(tag) => base.without_version().with_tag(tag.clone()),
            None => base.without_version(),
        };
        let name = BaseName::Reference(plain.to_string());
        let mut changed = Changed::default();
        let mut after: Option<KnownImage> = None;
        loop {
            let page = records.images_on_base(&name, PAGE, after.as_ref()).await?;
            for known in &page {
                let same = known.base.as_ref().is_some_and(|on| {
                    digest.is_some_and(|digest| on.manifest == digest || on.index == Some(digest))
                });
                if same {
                    continue;
                }
                let reason = match digest {
                    Some(digest) => format!("its base {base} is {digest} now"),
                    None => format!("its base {base} was pushed anew"),
                };
                let generation = known.image.generation;
                let noted = records
                    .mark_image_outdated(&known.scope, &known.spec_hash, generation, &reason)
                    .await?;
                changed.outdated += u64::from(noted);
                if noted && policy == OnBaseChange::Refresh {
                    self.refresh_known(known, origin).await?;
                    changed.refreshed += 1;
                }
            }
            after = page.into_iter().last();
            if after.is_none() {
                self.inner.outbox.notify_one();
                return Ok(changed);
            }
        }
    }

    /// A manifest was deleted: where it is an image of kiln's, the registry is asked whether it is gone.
    pub async fn image_deleted(
        &self,
        repository: &str,
        digest: Digest,
    ) -> Result<Changed, EngineError> {
        let records = self.inner.store.records();
        let mut changed = Changed::default();
        for known in records.images_at(repository, &digest).await? {
            let key = (known.scope, known.spec_hash);
            let hit = Hit::of(&known.image);
            if self.inner.see(&key, &hit).await == Seen::Gone {
                self.inner.forget(&key, &hit).await;
                changed.lost += 1;
            }
        }
        Ok(changed)
    }

    async fn refresh_known(&self, known: &KnownImage, origin: &Origin) -> Result<(), EngineError> {
        let records = self.inner.store.records();
        let canonical = records.canonical(&known.scope, &known.spec_hash).await?;
        let Some(canonical) = canonical else {
            return Ok(());
        };
        let destination = known
            .image
            .repository
            .strip_suffix(&format!("/{}", known.spec_hash.image_name()));
        let submission = Submission::of_canonical(
            known.scope.clone(),
            &canonical,
            Options {
                refresh: true,
                backend: BackendChoice::Auto,
                registry: destination.map(str::to_owned),
                ..Options::default()
            },
            origin.clone(),
        )?;
        self.submit(submission).await.map(drop)
    }
}
