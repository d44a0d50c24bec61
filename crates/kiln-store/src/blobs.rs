//! Content-addressed files: `sha256/ab/<64 hex digits>`, written once, verified while they are written.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs_err as fs;
use futures::{Stream, StreamExt as _};
use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::clock::millis;
use crate::error::StoreError;

/// A folder of blobs; cheap to clone.
///
/// A blob that no lock names has to be held, see [`Collection::hold_blobs`](crate::Collection::hold_blobs):
/// what nobody needs is collected after a time of grace.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

/// A blob that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    /// When it was written, milliseconds since the Unix epoch.
    pub written_ms: i64,
}

/// Why a blob was not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutBlobError<E: std::error::Error + 'static> {
    /// The source failed.
    #[error("the source of the blob failed")]
    Source(#[source] E),
    /// The bytes are not those of the digest.
    #[error("the bytes have the digest {actual}, not {expected}")]
    Digest {
        /// The digest that was asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// There are more or fewer bytes than were announced.
    #[error("the blob has {} {expected} bytes", if *actual > *expected { "more than" } else { "fewer than" })]
    Size {
        /// What was announced.
        expected: u64,
        /// What came before it was given up.
        actual: u64,
    },
    /// The store could not write.
    #[error("the blob could not be written")]
    Store(#[source] StoreError),
}

impl Blobs {
    /// Opens the folder, and removes what unfinished writes left.
    pub(crate) fn open(root: PathBuf) -> Result<Self, StoreError> {
        let temporary = root.join("tmp");
        if temporary.exists() {
            fs::remove_dir_all(&temporary).map_err(StoreError::file(&temporary))?;
        }
        for folder in [&temporary, &root.join("sha256")] {
            fs::create_dir_all(folder).map_err(StoreError::file(folder))?;
        }
        Ok(Self { root })
    }

    /// Where a blob is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.to_hex();
        self.root.join("sha256").join(&hex[..2]).join(hex)
    }

    /// Whether a blob is there.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Opens a blob to read it; none when it is not there.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<std::fs::File>, StoreError> {
        let path = self.path(digest);
        match std::fs::File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file(path)(error)),
        }
    }

    /// All blobs that are there; other files are passed over. It reads every folder.
    pub fn list(&self) -> Result<Vec<StoredBlob>, StoreError> {
        let root = self.root.join("sha256");
        let entries = |folder: &Path| fs::read_dir(folder).map_err(StoreError::file(folder));
        let mut blobs = Vec::new();
        for folder in entries(&root)? {
            let folder = folder.map_err(StoreError::file(&root))?.path();
            if !folder.is_dir() {
                continue;
            }
            for entry in entries(&folder)? {
                let entry = entry.map_err(StoreError::file(&folder))?;
                let name = entry.file_name();
                let Some(digest) = name.to_str().and_then(|hex| Digest::from_hex(hex).ok()) else {
                    continue;
                };
                // One that was removed since is not there.
                blobs.extend(stored(digest, &entry.path())?);
            }
        }
        Ok(blobs)
    }

    /// Moves a blob's file to the folder of unfinished writes, which is emptied at start; none when it
    /// is not there or was written after the time.
    pub(crate) fn set_aside(
        &self,
        digest: &Digest,
        before_ms: i64,
    ) -> Result<Option<PathBuf>, StoreError> {
        let path = self.path(digest);
        let stored = stored(*digest, &path)?;
        if stored.is_none_or(|blob| blob.written_ms > before_ms) {
            return Ok(None);
        }
        let aside = self
            .root
            .join("tmp")
            .join(format!("{}.gone", digest.to_hex()));
        match fs::rename(&path, &aside) {
            Ok(()) => Ok(Some(aside)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::file(path)(error)),
        }
    }

    /// Removes a blob; one that is not there is no fault.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        let path = self.path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::File {
                path,
                source: error,
            }),
            _ => Ok(()),
        }
    }

    /// Writes a blob whose bytes must have the digest. Two writers of one blob at once are fine; a
    /// failed or dropped write leaves nothing under the digest.
    pub async fn put<E: std::error::Error + 'static>(
        &self,
        digest: &Digest,
        bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), PutBlobError<E>> {
        self.write(digest, None, bytes).await
    }

    /// Writes a blob of an announced size as [`Blobs::put`] does; a longer source is given up at once.
    pub async fn put_sized<E: std::error::Error + 'static>(
        &self,
        digest: &Digest,
        size: u64,
        bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), PutBlobError<E>> {
        self.write(digest, Some(size), bytes).await
    }

    /// Writes a blob whose digest nobody knows before all its bytes are there, and tells digest and size; a
    /// source of more than `limit` bytes is given up.
    pub async fn put_new<E: std::error::Error + 'static>(
        &self,
        limit: u64,
        bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(Digest, u64), PutBlobError<E>> {
        let received = self.receive(limit, bytes).await?;
        let (digest, size) = (received.digest, received.size);
        self.keep(received).await?;
        Ok((digest, size))
    }

    /// Writes what a reader gives as [`Blobs::put_new`] does; it blocks.
    pub fn put_from(
        &self,
        limit: u64,
        mut content: impl std::io::Read,
    ) -> Result<(Digest, u64), PutBlobError<std::io::Error>> {
        let mut writer = self.writer().map_err(PutBlobError::Store)?;
        let mut chunk = vec![0; 1 << 17];
        loop {
            let read = match content.read(&mut chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => read.map_err(PutBlobError::Source)?,
            };
            if read == 0 {
                break;
            }
            let size = writer.size + read as u64;
            if size > limit {
                return Err(PutBlobError::Size {
                    expected: limit,
                    actual: size,
                });
            }
            writer
                .write_all(&chunk[..read])
                .map_err(|error| PutBlobError::Store(self.in_temporary(error)))?;
        }
        writer.finish().map_err(PutBlobError::Store)
    }

    /// Begins a blob whose bytes are written one after another; it blocks.
    pub fn writer(&self) -> Result<BlobWriter, StoreError> {
        let temporary = tempfile::Builder::new()
            .tempfile_in(self.root.join("tmp"))
            .map_err(|error| self.in_temporary(error))?;
        let (file, temporary) = temporary.into_parts();
        Ok(BlobWriter {
            blobs: self.clone(),
            file,
            temporary,
            hasher: Sha256::new(),
            size: 0,
        })
    }

    fn in_temporary(&self, error: std::io::Error) -> StoreError {
        StoreError::file(self.root.join("tmp"))(error)
    }

    async fn write<E: std::error::Error + 'static>(
        &self,
        digest: &Digest,
        size: Option<u64>,
        bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), PutBlobError<E>> {
        let received = self.receive(size.unwrap_or(u64::MAX), bytes).await?;
        if let Some(expected) = size.filter(|&expected| received.size != expected) {
            return Err(PutBlobError::Size {
                expected,
                actual: received.size,
            });
        }
        if received.digest != *digest {
            return Err(PutBlobError::Digest {
                expected: *digest,
                actual: received.digest,
            });
        }
        self.keep(received).await
    }

    /// Writes bytes to a file that has no name yet.
    async fn receive<E: std::error::Error + 'static>(
        &self,
        limit: u64,
        mut bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Received, PutBlobError<E>> {
        let folder = self.root.join("tmp");
        let file = |error| PutBlobError::Store(StoreError::file(&folder)(error));
        let temporary = tempfile::Builder::new()
            .tempfile_in(&folder)
            .map_err(file)?;
        let (handle, temporary) = temporary.into_parts();
        let mut writer =
            tokio::io::BufWriter::with_capacity(1 << 17, tokio::fs::File::from_std(handle));
        let mut hasher = Sha256::new();
        let mut size = 0;
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk.map_err(PutBlobError::Source)?;
            size += chunk.len() as u64;
            if size > limit {
                return Err(PutBlobError::Size {
                    expected: limit,
                    actual: size,
                });
            }
            hasher.update(&chunk);
            writer.write_all(&chunk).await.map_err(file)?;
        }
        writer.flush().await.map_err(file)?;
        Ok(Received {
            digest: Digest::from_bytes(hasher.finalize().into()),
            size,
            file: writer.into_inner(),
            temporary,
        })
    }

    /// Gives the file its name, durably.
    async fn keep<E: std::error::Error + 'static>(
        &self,
        received: Received,
    ) -> Result<(), PutBlobError<E>> {
        let target = self.path(&received.digest);
        let path = target.clone();
        let file = |error| PutBlobError::Store(StoreError::file(&path)(error));
        received.file.sync_all().await.map_err(file)?;
        let temporary = received.temporary;
        let moved = tokio::task::spawn_blocking(move || persist(temporary, &target)).await;
        moved
            .map_err(|error| file(std::io::Error::other(error)))?
            .map_err(file)
    }

    /// Whether the file of a digest still has its bytes; one that has not is removed.
    pub fn verify(&self, digest: &Digest) -> Result<bool, StoreError> {
        let Some(mut file) = self.open_blob(digest)? else {
            return Ok(false);
        };
        let path = self.path(digest);
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 17];
        loop {
            let read =
                std::io::Read::read(&mut file, &mut buffer).map_err(StoreError::file(&path))?;
            if read == 0 {
                break;
            }
            hasher.update(&buffer[..read]);
        }
        let intact = Digest::from_bytes(hasher.finalize().into()) == *digest;
        if !intact {
            self.remove(digest)?;
        }
        Ok(intact)
    }
}

/// Bytes that are written and have no name yet; dropping it removes them.
struct Received {
    digest: Digest,
    size: u64,
    file: tokio::fs::File,
    temporary: tempfile::TempPath,
}

/// What the file system says of a blob; none when it is not there.
fn stored(digest: Digest, path: &Path) -> Result<Option<StoredBlob>, StoreError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StoreError::file(path)(error)),
    };
    let written = metadata.modified().map_err(StoreError::file(path))?;
    let since = written.duration_since(std::time::UNIX_EPOCH);
    Ok(Some(StoredBlob {
        digest,
        size_bytes: metadata.len(),
        written_ms: since.map_or(0, millis),
    }))
}

/// A blob that is being written; one that is dropped leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    file: std::fs::File,
    temporary: tempfile::TempPath,
    hasher: Sha256,
    size: u64,
}

impl BlobWriter {
    /// Gives the bytes their name, durably; tells digest and size.
    pub fn finish(self) -> Result<(Digest, u64), StoreError> {
        let digest = Digest::from_bytes(self.hasher.finalize().into());
        let blobs = &self.blobs;
        self.file
            .sync_all()
            .map_err(|error| blobs.in_temporary(error))?;
        let target = blobs.path(&digest);
        persist(self.temporary, &target).map_err(StoreError::file(target))?;
        Ok((digest, self.size))
    }
}

impl std::io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Moves the file to its place and makes the move durable.
fn persist(temporary: tempfile::TempPath, target: &Path) -> std::io::Result<()> {
    let folder = target.parent().expect("a blob lies in a folder");
    if !folder.is_dir() {
        fs::create_dir_all(folder)?;
        fs::File::open(folder.parent().expect("`sha256` lies above"))?.sync_all()?;
    }
    temporary.persist(target).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
