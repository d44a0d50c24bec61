//! A blob of one repository as the source of another's.

use std::io;

use async_trait::async_trait;
use kiln_oci::{Descriptor, Reference};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::client::RegistryClient;
use crate::source::OpenBlob;

/// A blob of an image in a registry, read when a destination wants it, and checked by digest.
#[derive(Clone)]
pub struct RemoteBlob {
    registry: RegistryClient,
    image: Reference,
    descriptor: Descriptor,
}

impl RemoteBlob {
    /// Names a blob; nothing is asked yet.
    pub fn new(registry: RegistryClient, image: Reference, descriptor: Descriptor) -> Self {
        Self {
            registry,
            image,
            descriptor,
        }
    }
}

#[async_trait]
impl OpenBlob for RemoteBlob {
    async fn open(&self, offset: u64) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let stream = self
            .registry
            .blob_stream(&self.image, &self.descriptor)
            .await;
        let mut reader = stream.map_err(io::Error::other)?.into_async_read();
        let skipped =
            tokio::io::copy(&mut (&mut reader).take(offset), &mut tokio::io::sink()).await?;
        if skipped < offset {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Box::new(reader))
    }
}
