//! Is a known image still in the registry? Hits are asked about in the background, and every current
//! image from time to time. What is gone is marked; a tag that was moved is set again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use kiln_oci::{Digest, Platform, Reference};
use kiln_registry::Probe;
use kiln_store::KnownImage;

use crate::access::Access;
use crate::engine::{Engine, Inner, Key};
use crate::lookup::Hit;

/// Images that are listed at once.
const PAGE: u32 = 64;
/// Images that a pass asks about at once.
const AT_ONCE: usize = 4;
/// Answers that a pass waits for in vain before it leaves a registry alone.
const PATIENCE: u32 = 3;

/// What a registry says of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is there.
    There,
    /// A 404: it is not.
    Gone,
    /// Anything else: nothing is known.
    Unknown,
}

/// What became of a pass over the images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verified {
    /// Images that are where they belong.
    pub there: u64,
    /// Images that are not any more.
    pub gone: u64,
    /// Images that nothing was learned of: they are due at the next pass.
    pub unknown: u64,
}

impl Engine {
    /// Asks about every current image once in `every`, until kiln stops.
    pub async fn keep_verified(&self, every: Duration) {
        let pause = (every / 10).clamp(Duration::from_secs(1), Duration::from_mins(5));
        let passes = async {
            loop {
                tokio::time::sleep(pause).await;
                let verified = self.verify_images(every).await;
                if verified != Verified::default() {
                    tracing::info!(
                        there = verified.there,
                        gone = verified.gone,
                        unknown = verified.unknown,
                        "images were verified"
                    );
                }
            }
        };
        let _ = self.inner.drain.run_until_cancelled(passes).await;
    }

    /// Asks about the current images that were verified at least this long ago.
    pub async fn verify_images(&self, ago: Duration) -> Verified {
        let mut verified = Verified::default();
        let mut in_vain: HashMap<String, u32> = HashMap::new();
        let mut after: Option<KnownImage> = None;
        loop {
            let records = self.inner.store.records();
            let page = match records.images_to_verify(ago, PAGE, after.as_ref()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "images to verify could not be listed");
                    return verified;
                }
            };
            let Some(last) = page.last().cloned() else {
                return verified;
            };
            after = Some(last);
            let asked = page
                .into_iter()
                .filter(|known| {
                    in_vain
                        .get(host(known))
                        .is_none_or(|&times| times < PATIENCE)
                })
                .map(|known| async {
                    let hit = Hit::of(&known.image);
                    let host = host(&known).to_owned();
                    let key = (known.scope, known.spec_hash);
                    (host, self.inner.verify(&key, &hit).await)
                });
            let asked: Vec<_> = asked.collect();
            let mut answers = futures::stream::iter(asked).buffer_unordered(AT_ONCE);
            while let Some((host, seen)) = answers.next().await {
                match seen {
                    Seen::There => verified.there += 1,
                    Seen::Gone => verified.gone += 1,
                    Seen::Unknown => {
                        verified.unknown += 1;
                        *in_vain.entry(host).or_default() += 1;
                    }
                }
            }
        }
    }
}

/// The registry's host and port.
fn host(known: &KnownImage) -> &str {
    let repository = &known.image.repository;
    repository.split_once('/').map_or("", |(host, _)| host)
}

impl Inner {
    /// What the registry says of an image now. Nothing is done about it.
    pub(crate) async fn see(&self, key: &Key, hit: &Hit) -> Seen {
        let reference = format!("{}@{}", hit.repository, hit.digest).parse::<Reference>();
        let (Ok(reference), Ok(access)) = (reference, self.access(&key.0).await) else {
            return Seen::Unknown;
        };
        match access.registry.probe(&reference).await {
            Probe::Present { .. } => Seen::There,
            Probe::Absent => Seen::Gone,
            Probe::Unknown(error) => {
                tracing::warn!(%error, image = %reference, "an image could not be verified");
                Seen::Unknown
            }
        }
    }

    /// Asks about an image and keeps the records and the tags true.
    async fn verify(&self, key: &Key, hit: &Hit) -> Seen {
        let seen = self.see(key, hit).await;
        match seen {
            Seen::There => {
                self.repair_tags(key, hit).await;
                let records = self.store.records();
                let marked = records.mark_image_verified(&key.0, &key.1, hit.generation);
                if let Err(error) = marked.await {
                    tracing::warn!(%error, "a verified image could not be recorded");
                }
            }
            Seen::Gone => self.forget(key, hit).await,
            Seen::Unknown => {}
        }
        seen
    }

    /// Asks about a hit that was answered from memory or the store.
    pub(crate) fn verify_in_background(self: &Arc<Self>, key: Key, hit: Hit) {
        // From now on others see it as verified: one check at a time.
        if let Some(mut known) = self.hits.get_mut(&key) {
            known.verified = Some(Instant::now());
        }
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let check = async {
                let _turn = inner.checks.acquire().await;
                Box::pin(inner.verify(&key, &hit)).await
            };
            let _ = inner.drain.run_until_cancelled(check).await;
        });
    }

    /// The registry has lost an image.
    pub(crate) async fn forget(&self, key: &Key, hit: &Hit) {
        tracing::warn!(
            image = %hit.repository, digest = %hit.digest,
            "the registry has lost an image: the next request builds it anew from its lock"
        );
        self.hits
            .remove_if(key, |_, known| known.digest == hit.digest);
        let records = self.store.records();
        match records
            .mark_image_lost(&key.0, &key.1, hit.generation)
            .await
        {
            Ok(told) if told => self.outbox.notify_one(),
            Ok(_) => {}
            Err(error) => tracing::error!(%error, "a lost image could not be recorded"),
        }
    }

    /// The tag of the generation and `latest` point at the current image again, should somebody have
    /// moved or removed them.
    async fn repair_tags(&self, key: &Key, hit: &Hit) {
        let Ok(access) = self.access(&key.0).await else {
            return;
        };
        let generation = hit.generation.to_string();
        for tag in [generation.as_str(), "latest"] {
            if !self.is_astray(&access, key, hit, tag).await {
                continue;
            }
            tracing::warn!(image = %hit.repository, tag, digest = %hit.digest, "a tag was moved or lost: it is set again");
            return self.tag_current(&access, key, hit).await;
        }
    }

    /// Whether a tag is missing or points at something that is not of this definition. One that
    /// another kiln set for the same definition is left alone: two that share a registry must not
    /// pull a tag to and fro.
    async fn is_astray(&self, access: &Access, key: &Key, hit: &Hit, tag: &str) -> bool {
        let Ok(tag) = format!("{}:{tag}", hit.repository).parse::<Reference>() else {
            return false;
        };
        match access.registry.probe(&tag).await {
            Probe::Present { digest, .. } if digest == hit.digest => false,
            Probe::Present { digest, .. } => !self.is_anothers(access, key, &tag, digest).await,
            Probe::Absent => true,
            Probe::Unknown(_) => false,
        }
    }

    /// Whether another kiln made the image under a tag, for the same definition. Yes also where that
    /// can't be learned.
    async fn is_anothers(
        &self,
        access: &Access,
        key: &Key,
        tag: &Reference,
        digest: Digest,
    ) -> bool {
        let records = self.store.records();
        let place = tag.without_version().to_string();
        let (Ok(own), Ok(canonical)) = (
            records.images_at(&place, &digest).await,
            records.canonical(&key.0, &key.1).await,
        ) else {
            return true;
        };
        if own
            .iter()
            .any(|known| (&known.scope, &known.spec_hash) == (&key.0, &key.1))
        {
            return false;
        }
        let platform = canonical.and_then(|json| platform(&json));
        let platform = platform.unwrap_or_default();
        let there = access.registry.resolve_platform(tag, &platform);
        let labelled = |image: &kiln_registry::ResolvedImage| {
            let labels = &image.config.config.labels;
            labels.get("io.kiln.spec-hash") == Some(&key.1.to_hex())
        };
        there.await.as_ref().map_or_else(
            |error| error.kind() != kiln_registry::ErrorKind::NotFound,
            labelled,
        )
    }

    /// Sets the tags of an image while it is the current one; a refresh that ends meanwhile wins.
    async fn tag_current(&self, access: &Access, key: &Key, hit: &Hit) {
        let records = self.store.records();
        let mut set: Option<u64> = None;
        while let Ok(Some(current)) = records.current_image(&key.0, &key.1).await {
            if current.repository != hit.repository || set == Some(current.generation) {
                return;
            }
            if let Err(failure) = self.tag(&access.registry, &current, true).await {
                tracing::warn!(image = %hit.repository, "a tag could not be set: {}", failure.message);
                return;
            }
            set = Some(current.generation);
        }
    }
}

/// The platform of a definition.
fn platform(canonical: &str) -> Option<Platform> {
    let json: serde_json::Value = serde_json::from_str(canonical).ok()?;
    json["platform"].as_str()?.parse().ok()
}
