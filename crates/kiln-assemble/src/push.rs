//! The image into its registry: the base's layers by mount or copy, the packages' by mount or upload, the top
//! layer, the configuration, the manifest by digest.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use kiln_api::Failure;
use kiln_engine::failure::{of_registry, of_store};
use kiln_engine::{BuildJob, Built, Reporter, Step, Unit};
use kiln_layer::Layer;
use kiln_oci::{Descriptor, Digest, ImageManifest, media_type};
use kiln_registry::{BlobPush, BlobSource, Pushed, RemoteBlob, ResolvedImage};
use kiln_store::Store;

use crate::layers::NamedLayer;

/// Blobs that are on their way at once.
const PUSHES: usize = 6;

/// The parts of an image that is ready to be pushed.
pub(crate) struct Parts {
    pub(crate) base: ResolvedImage,
    /// Above the base, the top layer last.
    pub(crate) layers: Vec<NamedLayer>,
    /// The top layer's bytes.
    pub(crate) top: Vec<u8>,
    pub(crate) config: Vec<u8>,
}

/// How an image's own layers came to the registry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) existing: usize,
    pub(crate) mounted: usize,
    pub(crate) uploaded: usize,
    pub(crate) uploaded_bytes: u64,
}

/// Pushes an image by digest.
pub(crate) async fn image(
    parts: Parts,
    job: &BuildJob,
    store: &Store,
    reporter: &Arc<dyn Reporter>,
) -> Result<(Built, Sent), Failure> {
    let (host, own) = (
        job.repository.registry().to_string(),
        job.repository.repository().to_string(),
    );
    let digests: Vec<Digest> = parts
        .layers
        .iter()
        .map(|layer| layer.layer.digest)
        .collect();
    let places = store.records().layer_places(&host, &digests).await;
    let places: HashMap<Digest, String> = places
        .map_err(|error| of_store(&error))?
        .into_iter()
        .collect();
    let mut layers = Vec::new();
    let mut pushes = Vec::new();
    for (descriptor, push) in base_pushes(&parts.base, job) {
        pushes.push((descriptor.clone(), push));
        layers.push(descriptor);
    }
    let top = parts.layers.len().checked_sub(1);
    for (at, NamedLayer { layer, .. }) in parts.layers.iter().enumerate() {
        let descriptor = descriptor(layer);
        let source: BlobSource = if Some(at) == top {
            parts.top.clone().into()
        } else {
            store.blobs().path(&layer.digest).into()
        };
        let mut push = BlobPush::new(descriptor.clone(), source);
        let place = places.get(&layer.digest).filter(|place| **place != own);
        if let Some(Ok(place)) = place.map(|place| place.parse()) {
            push = push.mount_from(place);
        }
        pushes.push((descriptor.clone(), push));
        layers.push(descriptor);
    }
    let sending = futures::stream::iter(pushes).map(|(descriptor, push)| async move {
        let push = push.progress(progress(Arc::clone(reporter), &descriptor));
        let pushed = job.registry.push_blob(&job.repository, push).await;
        pushed.map(|pushed| (pushed, descriptor))
    });
    let done: Vec<(Pushed, Descriptor)> = sending
        .buffer_unordered(PUSHES)
        .try_collect()
        .await
        .map_err(|error| of_registry(&error))?;
    let mut sent = Sent::default();
    for (pushed, descriptor) in done.iter().filter(|(_, d)| digests.contains(&d.digest)) {
        match pushed {
            Pushed::Existing => sent.existing += 1,
            Pushed::Mounted => sent.mounted += 1,
            Pushed::Uploaded => {
                sent.uploaded += 1;
                sent.uploaded_bytes += descriptor.size;
            }
        }
    }
    let config = Descriptor::of(media_type::OCI_CONFIG, &parts.config);
    let push = BlobPush::new(config.clone(), parts.config);
    job.registry
        .push_blob(&job.repository, push)
        .await
        .map_err(|error| of_registry(&error))?;
    let manifest = ImageManifest::new(config, layers);
    let bytes = manifest.to_bytes();
    let built = Built {
        digest: Digest::of(&bytes),
        size_bytes: manifest.blob_size(),
    };
    job.before_manifest.note(&built).await?;
    let to = job.repository.with_digest(built.digest);
    let pushed = job
        .registry
        .push_manifest(&to, bytes.into(), media_type::OCI_MANIFEST)
        .await;
    pushed.map_err(|error| of_registry(&error))?;
    // The registry keeps what a manifest names: from now on others may mount from here.
    let packages = digests
        .split_last()
        .map_or([].as_slice(), |(_, packages)| packages);
    let noted = store.records().note_layers(&host, &own, packages).await;
    noted.map_err(|error| of_store(&error))?;
    Ok((built, sent))
}

fn descriptor(layer: &Layer) -> Descriptor {
    Descriptor::new(media_type::OCI_LAYER_GZIP, layer.digest, layer.size)
}

/// The base's layers, none of which is unpacked.
fn base_pushes(base: &ResolvedImage, job: &BuildJob) -> Vec<(Descriptor, BlobPush)> {
    let same_registry = base.reference.registry() == job.repository.registry();
    let layers = base.manifest.layers.iter();
    layers
        .map(|layer| {
            // The bytes are the same by either name; one kind of manifest has one kind of names.
            let media_type = match media_type::layer_compression(&layer.media_type) {
                Some(media_type::Compression::Zstd) => media_type::OCI_LAYER_ZSTD,
                Some(media_type::Compression::Gzip) => media_type::OCI_LAYER_GZIP,
                _ => media_type::OCI_LAYER,
            };
            let copied = Descriptor::new(media_type, layer.digest, layer.size);
            let remote =
                RemoteBlob::new(job.registry.clone(), base.reference.clone(), layer.clone());
            let push = BlobPush::new(copied.clone(), BlobSource::Other(Arc::new(remote)));
            let push = if same_registry {
                push.mount_from(base.reference.repository().clone())
            } else {
                push
            };
            (copied, push)
        })
        .collect()
}

fn progress(
    reporter: Arc<dyn Reporter>,
    descriptor: &Descriptor,
) -> impl Fn(u64) + Send + Sync + 'static {
    let total = descriptor.size;
    let name = format!("push {}", &descriptor.digest.to_hex()[..12]);
    move |done| {
        reporter.step(Step {
            name: name.clone(),
            done,
            total: Some(total),
            unit: Unit::Bytes,
            finished: done >= total,
        });
    }
}
