//! A model's files as a tar: read into blobs, written from them.

use std::collections::BTreeSet;
use std::io::{self, Read};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use kiln_store::{Blobs, FilePath, ModelFile, PutBlobError, StoreError};
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use crate::error::{EngineError, of_io};

/// Files of a model at most.
pub const MODEL_FILES_LIMIT: usize = 10_000;
/// Bytes that are on their way to who reads a tar.
const PIPE_BYTES: usize = 256 << 10;

/// Why a tar is no model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelArchiveError {
    /// It is no tar, or it breaks off.
    #[error("the model's tar can't be read")]
    Tar(#[source] io::Error),
    /// An entry's path does not do.
    #[error("the model's tar has an entry `{path}`: {reason}")]
    Entry {
        /// The path, without control characters.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are too many files.
    #[error("the model has more than {MODEL_FILES_LIMIT} files")]
    TooMany,
    /// The files are too large.
    #[error("the model's files have more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The blobs can't be written.
    #[error("the model's files can't be kept")]
    Store(#[source] StoreError),
}

impl From<ModelArchiveError> for EngineError {
    fn from(error: ModelArchiveError) -> Self {
        let remedy = match &error {
            ModelArchiveError::Store(StoreError::File { source, .. }) => {
                return Self::Failed(of_io("the model", source));
            }
            ModelArchiveError::Tar(_) => "send a tar of the model's files, without compression",
            ModelArchiveError::Entry { .. } => {
                "send files and folders below one root, without links"
            }
            ModelArchiveError::TooMany => "put many small files into an archive of their own",
            ModelArchiveError::TooLarge { .. } => {
                "raise `limits.model_mib`, or make the model smaller"
            }
            ModelArchiveError::Store(_) => "look into kiln's own log",
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Self::Invalid {
            message: format!("{error}{}", cause.unwrap_or_default()),
            remedy: remedy.into(),
        }
    }
}

fn entry_error(path: &[u8], reason: &dyn std::fmt::Display) -> ModelArchiveError {
    let path = String::from_utf8_lossy(path);
    ModelArchiveError::Entry {
        path: path.chars().filter(|c| !c.is_control()).take(200).collect(),
        reason: reason.to_string(),
    }
}

/// Keeps the files of a tar as blobs.
pub(super) async fn receive(
    tar: impl Stream<Item = io::Result<Bytes>> + Send + Unpin + 'static,
    blobs: Blobs,
    limit: u64,
) -> Result<Vec<ModelFile>, ModelArchiveError> {
    let reader = SyncIoBridge::new(StreamReader::new(tar));
    let reading =
        tokio::task::spawn_blocking(move || read(reader, limit, |content| put(&blobs, content)));
    let broken = |error| ModelArchiveError::Tar(io::Error::other(error));
    reading.await.map_err(broken)?
}

/// Reads the files of a tar; `keep` keeps the content of one.
fn read(
    tar: impl Read,
    limit: u64,
    mut keep: impl FnMut(&mut dyn Read) -> Result<(kiln_oci::Digest, u64), ModelArchiveError>,
) -> Result<Vec<ModelFile>, ModelArchiveError> {
    let mut archive = tar::Archive::new(tar);
    let (mut files, mut seen, mut total) = (Vec::new(), BTreeSet::new(), 0_u64);
    for entry in archive.entries().map_err(ModelArchiveError::Tar)? {
        let mut entry = entry.map_err(ModelArchiveError::Tar)?;
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        let raw = entry.path_bytes().into_owned();
        let text = std::str::from_utf8(&raw).map_err(|_| entry_error(&raw, &"it is no UTF-8"))?;
        let text = text.strip_prefix("./").unwrap_or(text);
        if kind.is_dir() {
            let folder = text.trim_end_matches('/');
            if !matches!(folder, "" | ".") {
                folder
                    .parse::<FilePath>()
                    .map_err(|e| entry_error(&raw, &e))?;
            }
            continue;
        }
        if !kind.is_file() && kind != tar::EntryType::Continuous {
            return Err(entry_error(&raw, &"it is neither a file nor a folder"));
        }
        let path: FilePath = text.parse().map_err(|error| entry_error(&raw, &error))?;
        if !seen.insert(path.clone()) {
            return Err(entry_error(&raw, &"it is there twice"));
        }
        if files.len() == MODEL_FILES_LIMIT {
            return Err(ModelArchiveError::TooMany);
        }
        total = total.saturating_add(entry.size());
        if total > limit {
            return Err(ModelArchiveError::TooLarge { limit });
        }
        let announced = entry.size();
        let (digest, size_bytes) = keep(&mut entry)?;
        if size_bytes != announced {
            return Err(ModelArchiveError::Tar(io::ErrorKind::UnexpectedEof.into()));
        }
        files.push(ModelFile {
            path,
            digest,
            size_bytes,
        });
    }
    Ok(files)
}

fn put(
    blobs: &Blobs,
    content: &mut dyn Read,
) -> Result<(kiln_oci::Digest, u64), ModelArchiveError> {
    blobs
        .put_from(u64::MAX, content)
        .map_err(|error| match error {
            PutBlobError::Source(error) => ModelArchiveError::Tar(error),
            PutBlobError::Store(error) => ModelArchiveError::Store(error),
            other => ModelArchiveError::Tar(io::Error::other(other.to_string())),
        })
}

/// The files as a tar: equal files are equal bytes.
pub(crate) fn send(
    files: Vec<ModelFile>,
    blobs: Blobs,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let (writer, reader) = tokio::io::duplex(PIPE_BYTES);
    let writing = tokio::task::spawn_blocking(move || {
        let mut pipe = SyncIoBridge::new(writer);
        write(&files, &blobs, &mut pipe)?;
        pipe.shutdown()
    });
    // A tar that breaks off must not look like one that ends.
    let end = futures::stream::once(writing).filter_map(async |done| match done {
        Ok(Err(error)) => Some(Err(error)),
        Err(error) => Some(Err(io::Error::other(error))),
        Ok(Ok(())) => None,
    });
    ReaderStream::new(reader).chain(end)
}

fn write(files: &[ModelFile], blobs: &Blobs, to: &mut dyn io::Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(to);
    for file in files {
        let content = blobs.open_blob(&file.digest).map_err(io::Error::other)?;
        let content = content.ok_or(io::ErrorKind::NotFound)?;
        let mut header = tar::Header::new_gnu();
        header.set_size(file.size_bytes);
        header.set_mode(0o644);
        header.set_mtime(0);
        tar.append_data(&mut header, file.path.as_str(), content)?;
    }
    tar.finish()
}

#[cfg(test)]
mod tests {
    use kiln_oci::Digest;

    use super::*;

    fn tar_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            // The library would refuse to write what a hostile client sends.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn read_all(tar: &[u8], limit: u64) -> Result<Vec<ModelFile>, ModelArchiveError> {
        read(tar, limit, |content| {
            let mut bytes = Vec::new();
            content
                .read_to_end(&mut bytes)
                .map_err(ModelArchiveError::Tar)?;
            Ok((Digest::of(&bytes), bytes.len() as u64))
        })
    }

    const FILE: tar::EntryType = tar::EntryType::Regular;
    const FOLDER: tar::EntryType = tar::EntryType::Directory;

    #[test]
    fn files_and_folders_below_the_root_are_taken() {
        let tar = tar_of(&[
            ("./", FOLDER, ""),
            ("./mdir/", FOLDER, ""),
            ("./mdir/a.bin", FILE, "abc"),
            ("b", FILE, ""),
        ]);
        let files = read_all(&tar, 3).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["mdir/a.bin", "b"]);
        assert_eq!(files[0].digest, Digest::of(b"abc"));
    }

    #[test]
    fn what_leaves_the_root_or_is_no_file_is_refused_by_name() {
        for (path, kind) in [
            ("../a", FILE),
            ("/etc/passwd", FILE),
            ("a/../../b", FILE),
            ("a/../b/", FOLDER),
            ("a\\b", FILE),
            ("a", tar::EntryType::Symlink),
            ("a", tar::EntryType::Link),
            ("a", tar::EntryType::Char),
            ("a", tar::EntryType::Fifo),
        ] {
            let error = read_all(&tar_of(&[(path, kind, "")]), 10).unwrap_err();
            assert!(
                matches!(error, ModelArchiveError::Entry { .. }),
                "{path} {error}"
            );
        }
        let twice = tar_of(&[("a", FILE, ""), ("./a", FILE, "")]);
        let error = read_all(&twice, 10).unwrap_err().to_string();
        assert_eq!(
            error,
            "the model's tar has an entry `./a`: it is there twice"
        );
    }

    #[test]
    fn a_tar_that_is_too_large_breaks_off_or_is_none_is_refused() {
        let tar = tar_of(&[("a", FILE, "abc"), ("b", FILE, "abc")]);
        let large = read_all(&tar, 5).unwrap_err();
        assert!(matches!(large, ModelArchiveError::TooLarge { limit: 5 }));
        let cut = read_all(&tar[..514], 10).unwrap_err();
        assert!(matches!(cut, ModelArchiveError::Tar(_)), "{cut}");
        let none = read_all(&[b'x'; 1024], 10).unwrap_err();
        assert!(matches!(none, ModelArchiveError::Tar(_)), "{none}");
    }
}
