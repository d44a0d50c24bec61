//! The layers of packages and groups, each made once: by key in the records, by content among the blobs.

use std::collections::HashMap;
use std::io::BufReader;
use std::sync::{Arc, Mutex, Weak};

use futures::{StreamExt as _, TryStreamExt as _};
use kiln_api::Failure;
use kiln_engine::failure::of_store;
use kiln_layer::{
    Compressors, Directories, GroupError, Layer, LayerBudget, LayerKey, PackageLayer, Planned,
    plan_layers, write_group,
};
use kiln_oci::Digest;
use kiln_store::{LayerRow, Store};

use crate::error::AssembleError;
use crate::packages::{Package, Packages};

/// Packages that are linked at once: linking waits for compression, which has threads of its own.
const LINKED_AT_ONCE: usize = 4;

/// A layer of an image, and what is in it.
#[derive(Debug, Clone)]
pub(crate) struct NamedLayer {
    pub(crate) layer: Layer,
    /// The packages, for the image's history.
    pub(crate) packages: Vec<String>,
}

/// What became of a build's packages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Layers of packages that were there.
    pub(crate) known: usize,
    /// Layers of packages that were made.
    pub(crate) made: usize,
    /// Groups that were made.
    pub(crate) groups: usize,
}

/// Makes layers; shared by all builds.
pub(crate) struct Layers {
    store: Store,
    compressors: Compressors,
    /// Who makes the layer of a key has its lock.
    making: Mutex<HashMap<LayerKey, Weak<tokio::sync::Mutex<()>>>>,
}

impl Layers {
    pub(crate) fn new(store: Store, compressors: Compressors) -> Self {
        Self {
            store,
            compressors,
            making: Mutex::new(HashMap::new()),
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The layers of a build's packages above a base of so many, from the lowest up; `done` is told how many of the
    /// packages have theirs.
    pub(crate) async fn of(
        &self,
        build: &str,
        packages: &Arc<Packages>,
        base_layers: usize,
        done: impl Fn(usize, usize) + Sync,
    ) -> Result<(Vec<NamedLayer>, Counts), Failure> {
        let budget = LayerBudget::above(base_layers)
            .map_err(|error| AssembleError::from(error).failure())?;
        let total = packages.list().len();
        let keys: Vec<LayerKey> = packages.list().iter().map(|package| package.key).collect();
        let mut known = self.known(build, &keys).await?;
        let mut found: Vec<(usize, PackageLayer)> = Vec::with_capacity(total);
        let mut missing = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            match known.remove(key) {
                Some(layer) => found.push((at, layer)),
                None => missing.push(at),
            }
        }
        // The largest first: it takes longest.
        missing.sort_by_key(|at| std::cmp::Reverse(packages.list()[*at].archive_bytes));
        let mut made = Counts {
            known: found.len(),
            made: missing.len(),
            groups: 0,
        };
        done(found.len(), total);
        let mut making =
            futures::stream::iter(missing)
                .map(|at| async move {
                    Ok::<_, Failure>((at, self.package(build, packages, at).await?))
                })
                .buffer_unordered(LINKED_AT_ONCE);
        while let Some(layer) = making.try_next().await? {
            found.push(layer);
            done(found.len(), total);
        }
        drop(making);
        found.sort_by_key(|(at, _)| *at);
        let mut layers: Vec<PackageLayer> = found.into_iter().map(|(_, layer)| layer).collect();
        let plan = plan_layers(
            &packages.list().iter().map(planned).collect::<Vec<_>>(),
            budget,
        );
        let mut named = Vec::with_capacity(plan.len());
        for group in plan {
            let layer = if let [at] = group.as_slice() {
                layers[*at].layer
            } else {
                let (layer, is_new) = self.group(build, packages, &mut layers, &group).await?;
                made.groups += usize::from(is_new);
                layer
            };
            let names = group.iter().map(|at| packages.list()[*at].name.clone());
            named.push(NamedLayer {
                layer,
                packages: names.collect(),
            });
        }
        Ok((named, made))
    }

    /// The layers of these keys that are there; they are held for the build first.
    async fn known(
        &self,
        build: &str,
        keys: &[LayerKey],
    ) -> Result<HashMap<LayerKey, PackageLayer>, Failure> {
        let records = self.store.records();
        let texts: Vec<String> = keys.iter().map(LayerKey::to_hex).collect();
        let rows = records
            .layers(&texts)
            .await
            .map_err(|error| of_store(&error))?;
        self.hold(
            build,
            &rows.iter().map(|row| row.digest).collect::<Vec<_>>(),
        )
        .await?;
        let by_text: HashMap<&str, LayerKey> = texts
            .iter()
            .map(String::as_str)
            .zip(keys.iter().copied())
            .collect();
        let there = rows
            .into_iter()
            .filter(|row| self.store.blobs().contains(&row.digest));
        let keyed = there.filter_map(|row| Some((*by_text.get(row.key.as_str())?, layer_of(row))));
        Ok(keyed.collect())
    }

    async fn hold(&self, build: &str, digests: &[Digest]) -> Result<(), Failure> {
        if digests.is_empty() {
            return Ok(());
        }
        let records = self.store.records();
        records
            .hold_for_build(build, digests)
            .await
            .map_err(|error| of_store(&error))?;
        records
            .use_blobs(digests)
            .await
            .map_err(|error| of_store(&error))
    }

    /// The lock of whoever makes a key's layer.
    fn lock_of(&self, key: LayerKey) -> Arc<tokio::sync::Mutex<()>> {
        let mut making = self
            .making
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lock) = making.get(&key).and_then(Weak::upgrade) {
            return lock;
        }
        making.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::new(tokio::sync::Mutex::new(()));
        making.insert(key, Arc::downgrade(&lock));
        lock
    }

    /// Makes a package's layer, unless another build has made it meanwhile.
    async fn package(
        &self,
        build: &str,
        packages: &Arc<Packages>,
        at: usize,
    ) -> Result<PackageLayer, Failure> {
        let key = packages.list()[at].key;
        let lock = self.lock_of(key);
        let _making = lock.lock().await;
        if let Some(layer) = self.known(build, &[key]).await?.remove(&key) {
            return Ok(layer);
        }
        let (blobs, compressors) = (self.store.blobs().clone(), self.compressors.clone());
        let packages = Arc::clone(packages);
        let work = tokio::task::spawn_blocking(move || {
            let out = blobs.writer().map_err(|error| of_store(&error))?;
            let written = packages.write(at, out, &compressors);
            let (out, layer, _) = written.map_err(AssembleError::failure)?;
            let (digest, _) = out.finish().map_err(|error| of_store(&error))?;
            debug_assert_eq!(digest, layer.layer.digest);
            Ok::<_, Failure>(layer)
        });
        let layer = finished(work).await?;
        self.keep(build, key, &layer).await?;
        Ok(layer)
    }

    async fn keep(&self, build: &str, key: LayerKey, layer: &PackageLayer) -> Result<(), Failure> {
        self.hold(build, &[layer.layer.digest]).await?;
        let row = LayerRow {
            key: key.to_hex(),
            digest: layer.layer.digest,
            diff_id: layer.layer.diff_id,
            size_bytes: layer.layer.size,
            segment_offset: layer.segment_offset,
            segment_bytes: layer.segment_size,
            directories: layer.directories.iter().map(str::to_owned).collect(),
        };
        let kept = self.store.records().keep_layer(&row).await;
        kept.map_err(|error| of_store(&error))
    }

    /// The layer of several packages, and whether it was made now. A package whose layer is damaged is made again.
    async fn group(
        &self,
        build: &str,
        packages: &Arc<Packages>,
        layers: &mut [PackageLayer],
        group: &[usize],
    ) -> Result<(Layer, bool), Failure> {
        let key = LayerKey::group(group.iter().map(|at| layers[*at].layer));
        let lock = self.lock_of(key);
        let _making = lock.lock().await;
        if let Some(layer) = self.known(build, &[key]).await?.remove(&key) {
            return Ok((layer.layer, false));
        }
        for _ in 0..=group.len() {
            let parts: Vec<PackageLayer> = group.iter().map(|at| layers[*at].clone()).collect();
            let store = self.store.clone();
            let work = tokio::task::spawn_blocking(move || compose(&store, parts));
            match finished(work).await? {
                Ok(layer) => {
                    self.keep(build, key, &layer).await?;
                    return Ok((layer.layer, true));
                }
                Err(damaged) => {
                    tracing::warn!(digest = %damaged, "a package's layer was damaged; it is made again");
                    self.forget(&damaged).await?;
                    let at = group.iter().find(|at| layers[**at].layer.digest == damaged);
                    if let Some(at) = at {
                        layers[*at] = self.package(build, packages, *at).await?;
                    }
                }
            }
        }
        let failure = GroupError::Io(std::io::Error::other("packages' layers don't stay whole"));
        Err(AssembleError::Group(failure).failure())
    }

    /// Drops a layer that is not what its digest says.
    pub(crate) async fn forget(&self, digest: &Digest) -> Result<(), Failure> {
        let dropped = self.store.records().drop_layer(digest).await;
        dropped.map_err(|error| of_store(&error))?;
        self.store
            .blobs()
            .remove(digest)
            .map_err(|error| of_store(&error))
    }
}

/// Puts packages' layers together; the inner error is the layer that is damaged.
fn compose(
    store: &Store,
    parts: Vec<PackageLayer>,
) -> Result<Result<PackageLayer, Digest>, Failure> {
    let mut directories = Directories::default();
    let mut opened = Vec::with_capacity(parts.len());
    for part in parts {
        directories.extend(&part.directories);
        let file = store
            .blobs()
            .open_blob(&part.layer.digest)
            .map_err(|error| of_store(&error))?;
        let Some(file) = file else {
            return Ok(Err(part.layer.digest));
        };
        opened.push((part, BufReader::with_capacity(128 << 10, file)));
    }
    let out = store.blobs().writer().map_err(|error| of_store(&error))?;
    match write_group(out, opened, &directories) {
        Ok((out, layer)) => {
            out.finish().map_err(|error| of_store(&error))?;
            // Groups are not put together of groups: they need no segment.
            Ok(Ok(PackageLayer {
                layer,
                segment_offset: 0,
                segment_size: 0,
                directories: Directories::default(),
            }))
        }
        Err(GroupError::Corrupt { digest }) => Ok(Err(digest)),
        Err(error) => Err(AssembleError::Group(error).failure()),
    }
}

/// Waits for work on another thread.
async fn finished<T>(work: tokio::task::JoinHandle<Result<T, Failure>>) -> Result<T, Failure> {
    work.await.unwrap_or_else(|error| {
        let error = std::io::Error::other(error);
        Err(kiln_engine::failure::of_io("making a layer", &error))
    })
}

fn planned(package: &Package) -> Planned<'_> {
    Planned {
        name: &package.name,
        archive_bytes: package.archive_bytes,
        archive: package.archive,
    }
}

fn layer_of(row: LayerRow) -> PackageLayer {
    PackageLayer {
        layer: Layer {
            digest: row.digest,
            diff_id: row.diff_id,
            size: row.size_bytes,
        },
        segment_offset: row.segment_offset,
        segment_size: row.segment_bytes,
        directories: row.directories.into_iter().collect(),
    }
}
