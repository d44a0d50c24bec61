//! Where the bytes of a pushed blob come from.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncSeekExt as _};

/// Opens a blob's bytes anew at any offset, as often as an upload needs.
#[async_trait]
pub trait OpenBlob: Send + Sync {
    /// The bytes from `offset` on.
    async fn open(&self, offset: u64) -> io::Result<Box<dyn AsyncRead + Send + Unpin>>;
}

/// The bytes of a blob that is pushed.
#[derive(Clone)]
#[non_exhaustive]
pub enum BlobSource {
    /// Bytes in memory.
    Bytes(Bytes),
    /// A file that does not change.
    File(PathBuf),
    /// Anything else that can be read again.
    Other(Arc<dyn OpenBlob>),
}

impl BlobSource {
    pub(crate) async fn open(&self, offset: u64) -> io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        match self {
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                Ok(Box::new(io::Cursor::new(bytes.slice(start..))))
            }
            Self::File(path) => {
                let mut file = fs_err::tokio::File::open(path).await?;
                if offset > 0 {
                    file.seek(io::SeekFrom::Start(offset)).await?;
                }
                Ok(Box::new(file))
            }
            Self::Other(source) => source.open(offset).await,
        }
    }
}

impl fmt::Debug for BlobSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Other(_) => f.write_str("Other"),
        }
    }
}

impl From<Bytes> for BlobSource {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<u8>> for BlobSource {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes.into())
    }
}

impl From<PathBuf> for BlobSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}
