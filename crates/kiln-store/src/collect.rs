//! Garbage collection: what nothing needs goes, after a time of grace.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use kiln_oci::Digest;

use crate::clock::millis;
use crate::error::StoreError;
use crate::rows::IdleLock;
use crate::store::Store;

/// Blobs that are looked at in one transaction: nothing else is written meanwhile.
const AT_ONCE: usize = 64;

/// A blob that may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectibleBlob {
    /// The blob.
    pub digest: Digest,
    /// The size of its file.
    pub size_bytes: u64,
    /// When it was last used, milliseconds since the Unix epoch.
    pub used_ms: i64,
}

/// What a collection would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionPlan {
    /// Only what was not used since then goes, milliseconds since the Unix epoch.
    pub before_ms: i64,
    /// Blobs that nothing needs, the longest unused first.
    pub blobs: Vec<CollectibleBlob>,
    /// Locks that nothing needs.
    pub locks: Vec<IdleLock>,
}

impl CollectionPlan {
    /// The bytes that would be free again.
    pub fn size_bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|blob| blob.size_bytes);
        blobs
            .chain(self.locks.iter().map(|lock| lock.size_bytes))
            .sum()
    }
}

/// What a collection removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Collected {
    /// The blobs, the longest unused first.
    pub blobs: Vec<CollectibleBlob>,
    /// How many locks.
    pub locks: u64,
}

impl Store {
    /// Looks what nothing needs and was not used within the time of grace; it changes nothing.
    pub async fn plan_collection(&self, grace: Duration) -> Result<CollectionPlan, StoreError> {
        let before_ms = self.records().now_ms().saturating_sub(millis(grace));
        let blobs = self.blobs().clone();
        let files = blocking(move || blobs.list()).await?;
        // Read after the files: a blob whose file is in the list has its row, if it gets one.
        let rows = self.records().blob_rows().await?;
        let rows: HashMap<_, _> = rows.into_iter().map(|row| (row.digest, row)).collect();
        let collectible = files.into_iter().filter_map(|file| {
            let row = rows.get(&file.digest);
            let used_ms = file.written_ms.max(row.map_or(0, |row| row.used_ms));
            let needed = row.is_some_and(|row| row.needed) || used_ms > before_ms;
            (!needed).then_some(CollectibleBlob {
                digest: file.digest,
                size_bytes: file.size_bytes,
                used_ms,
            })
        });
        let mut blobs: Vec<_> = collectible.collect();
        blobs.sort_by_key(|blob| (blob.used_ms, blob.digest.to_hex()));
        Ok(CollectionPlan {
            before_ms,
            blobs,
            locks: self.records().idle_locks(before_ms).await?,
        })
    }

    /// Removes what a plan names and is still not needed: each is looked at again while nothing else is
    /// written, so that no build loses what it relies on. Files are deleted after their rows.
    pub async fn collect(&self, plan: &CollectionPlan) -> Result<Collected, StoreError> {
        let mut collected = Collected::default();
        for blobs in plan.blobs.chunks(AT_ONCE) {
            let digests: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
            let aside: Mutex<Vec<PathBuf>> = Mutex::default();
            let take_away = |digest: &Digest| {
                let path = self.blobs().set_aside(digest, plan.before_ms)?;
                let taken = path.is_some();
                aside.lock().expect("no push panics").extend(path);
                Ok(taken)
            };
            let records = self.records();
            let gone = records.drop_blobs(&digests, plan.before_ms, &take_away);
            let gone = gone.await;
            // What was moved is deleted whatever came of the rows: it was not needed.
            let aside = aside.into_inner().expect("no push panics");
            blocking(move || {
                let remove =
                    |path: PathBuf| fs_err::remove_file(&path).map_err(StoreError::file(&path));
                aside.into_iter().try_for_each(remove)
            })
            .await?;
            let gone = gone?;
            let went = blobs.iter().filter(|blob| gone.contains(&blob.digest));
            collected.blobs.extend(went.cloned());
        }
        for locks in plan.locks.chunks(AT_ONCE) {
            collected.locks += self.records().drop_locks(locks, plan.before_ms).await?;
        }
        Ok(collected)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| StoreError::file("blobs")(std::io::Error::other(error)))?
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use super::*;
    use crate::contract::collection::{build, lock, wheel};
    use crate::contract::{collection, started};
    use crate::{Clock as _, ManualClock, Scope, SystemClock};

    const HOUR: Duration = Duration::from_hours(1);

    async fn put(store: &Store, name: &'static str) {
        let bytes = [Ok::<_, Infallible>(bytes::Bytes::from_static(
            name.as_bytes(),
        ))];
        let stream = futures::stream::iter(bytes);
        store.blobs().put(&wheel(name), stream).await.unwrap();
    }

    /// A store whose clock is two hours ahead of its files.
    async fn store(folder: &std::path::Path) -> Store {
        let clock = Arc::new(ManualClock::default());
        let now_ms = SystemClock::new().unwrap().wall_ms();
        clock.set_wall_ms(now_ms + 2 * millis(HOUR));
        Store::open_with(folder, clock).await.unwrap()
    }

    fn digests(plan: &CollectionPlan) -> Vec<Digest> {
        plan.blobs.iter().map(|blob| blob.digest).collect()
    }

    #[tokio::test]
    async fn a_plan_changes_nothing_and_a_collection_takes_what_it_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let scope = Scope::default_scope();
        for name in ["needed", "stray", "held"] {
            put(&store, name).await;
        }
        build(store.records(), &scope, "d", &lock(&["needed"])).await;
        let records = store.records();
        records.hold_blobs("me", &[wheel("held")]).await.unwrap();
        let plan = store.plan_collection(HOUR).await.unwrap();
        assert_eq!(digests(&plan), [wheel("stray")]);
        assert_eq!(plan.size_bytes(), 5);
        assert!(store.blobs().contains(&wheel("stray")), "it is a plan");
        let long = store.plan_collection(HOUR * 3).await.unwrap();
        assert_eq!(digests(&long), [], "it has its grace");
        let collected = store.collect(&plan).await.unwrap();
        assert_eq!(collected.blobs, plan.blobs);
        assert!(!store.blobs().contains(&wheel("stray")));
        for kept in ["needed", "held"] {
            assert!(store.blobs().contains(&wheel(kept)), "{kept}");
        }
        let again = store.collect(&plan).await.unwrap();
        assert_eq!(again, Collected::default());
        let left = std::fs::read_dir(folder.path().join("blobs/tmp")).unwrap();
        assert_eq!(left.count(), 0);
    }

    #[tokio::test]
    async fn what_is_needed_since_the_plan_was_made_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let (records, scope) = (store.records(), Scope::default_scope());
        for name in ["locked", "used", "written"] {
            put(&store, name).await;
        }
        let plan = store.plan_collection(HOUR).await.unwrap();
        assert_eq!(plan.blobs.len(), 3);
        let row = started(records, &scope, "d").await;
        let lock = lock(&["locked"]);
        collection::put(records, &scope, "d", Some(&row), &lock).await;
        records.use_blobs(&[wheel("used")]).await.unwrap();
        let file = std::fs::File::open(store.blobs().path(&wheel("written"))).unwrap();
        let later = std::time::SystemTime::now() + 2 * HOUR;
        file.set_modified(later).unwrap();
        let collected = store.collect(&plan).await.unwrap();
        assert_eq!(collected, Collected::default());
        assert_eq!(store.blobs().list().unwrap().len(), 3);
    }
}
