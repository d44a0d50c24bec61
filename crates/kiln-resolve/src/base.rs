//! The base image: from what was written to a pinned image and its facts.

use std::io::{self, Read};

use async_trait::async_trait;
use bytes::{Buf as _, Bytes};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use kiln_lock::BaseFacts;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{BlobStream, RegistryClient, RegistryError, ResolvedImage};
use tokio::sync::mpsc;

use crate::facts::{LayerFindings, RootFiles, facts, read_layer};

/// How many layers are read at a time.
const LAYERS_AT_A_TIME: usize = 3;
/// How many pieces of a layer wait for their reader.
const PIECES: usize = 16;

/// Keeps facts by the digest of the platform's manifest, for which they are true for ever.
#[async_trait]
pub trait FactsCache: Send + Sync {
    /// The facts that are known.
    async fn get(&self, manifest: &Digest) -> Option<BaseFacts>;

    /// Keeps facts; a failure is the cache's own affair.
    async fn put(&self, manifest: &Digest, facts: &BaseFacts);
}

/// Why a base's facts can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FactsError {
    /// A layer can't be fetched.
    #[error("reading layer {layer} of the base image failed")]
    Fetch {
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: RegistryError,
    },
    /// A layer is no archive.
    #[error("layer {layer} of the base image is not readable")]
    Layer {
        /// The layer.
        layer: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The facts of an image: from the cache, or by streaming its layers, of which nothing is stored.
pub(crate) async fn facts_of(
    client: &RegistryClient,
    image: &ResolvedImage,
    cache: &dyn FactsCache,
) -> Result<BaseFacts, FactsError> {
    if let Some(known) = cache.get(&image.manifest_digest).await {
        return Ok(known);
    }
    // Boxed, because the compiler can't tell that futures over borrowed layers are `Send`.
    let layers = image.manifest.layers.iter();
    let reads: Vec<BoxFuture<'_, Result<LayerFindings, FactsError>>> = layers
        .map(|layer| findings(client, image, layer).boxed())
        .collect();
    let layers: Vec<LayerFindings> = futures::stream::iter(reads)
        .buffered(LAYERS_AT_A_TIME)
        .try_collect()
        .await?;
    let mut files = RootFiles::default();
    for layer in layers {
        files.push(layer);
    }
    let found = facts(&image.config, &files);
    cache.put(&image.manifest_digest, &found).await;
    Ok(found)
}

async fn findings(
    client: &RegistryClient,
    image: &ResolvedImage,
    layer: &Descriptor,
) -> Result<LayerFindings, FactsError> {
    let fetch = |source| FactsError::Fetch {
        layer: layer.digest,
        source,
    };
    let stream = client
        .blob_stream(&image.reference, layer)
        .await
        .map_err(fetch)?;
    let (pieces, received) = mpsc::channel(PIECES);
    let reading = tokio::task::spawn_blocking(move || {
        read_layer(Pieces {
            received,
            current: Bytes::new(),
        })
    });
    // When this future is dropped the reader comes to an early end and stops.
    let sent = send(stream, pieces).await;
    let read = reading
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    sent.map_err(fetch)?;
    read.map_err(|source| FactsError::Layer {
        layer: layer.digest,
        source,
    })
}

async fn send(mut stream: BlobStream, pieces: mpsc::Sender<Bytes>) -> Result<(), RegistryError> {
    while let Some(piece) = stream.try_next().await? {
        if pieces.send(piece).await.is_err() {
            // The reader has failed and says why.
            return Ok(());
        }
    }
    Ok(())
}

/// A blocking reader of what an async task sends.
struct Pieces {
    received: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
