//! Files and folders of this machine as a tar on its way, and back.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fs_err as fs;
use futures::{Stream, StreamExt as _};
use kiln_engine::FilePath;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use crate::error::CliError;

/// Bytes on their way at most.
const PIPE_BYTES: usize = 256 << 10;

/// What to send, by its path in the tar.
pub(crate) struct Entry {
    pub(crate) path: String,
    pub(crate) content: Content,
}

/// What an entry is.
pub(crate) enum Content {
    /// A file of this machine, with its permission bits in the tar.
    File { from: PathBuf, mode: u32 },
    /// A folder.
    Folder,
    /// A symbolic link to this path.
    Link(PathBuf),
}

/// A file, or a folder with all files in it, as a tar whose paths begin with its name.
pub(crate) fn pack(
    root: &Path,
) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, CliError> {
    Ok(stream(entries(root)?))
}

/// Entries as a tar.
pub(crate) fn stream(entries: Vec<Entry>) -> impl Stream<Item = io::Result<Bytes>> + Send + use<> {
    let (writer, reader) = tokio::io::duplex(PIPE_BYTES);
    let writing = tokio::task::spawn_blocking(move || {
        let mut pipe = SyncIoBridge::new(writer);
        write(&entries, &mut pipe)?;
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

fn entries(root: &Path) -> Result<Vec<Entry>, CliError> {
    let fault = |error: io::Error| {
        CliError::input(
            format!("the files can't be read: {error}"),
            "give a file or folder that kiln may read",
        )
    };
    let root = fs::canonicalize(root).map_err(fault)?;
    let name = root
        .file_name()
        .ok_or_else(|| CliError::input("`/` has no name", "give a file or a folder below it"))?;
    let mut found = Vec::new();
    let mut waiting = vec![(root.clone(), PathBuf::from(name))];
    while let Some((file, path)) = waiting.pop() {
        let kind = fs::symlink_metadata(&file).map_err(fault)?.file_type();
        if kind.is_dir() {
            for entry in fs::read_dir(&file).map_err(fault)? {
                let entry = entry.map_err(fault)?;
                waiting.push((entry.path(), path.join(entry.file_name())));
            }
            continue;
        }
        let refused = |reason: &dyn std::fmt::Display| {
            CliError::input(
                format!("{}: {reason}", file.display()),
                "leave it out, or put a plain file in its place",
            )
        };
        if !kind.is_file() {
            return Err(refused(&"it is neither a file nor a folder"));
        }
        let text = path
            .to_str()
            .ok_or_else(|| refused(&"its name is no UTF-8"))?;
        let path: FilePath = text.parse().map_err(|error| refused(&error))?;
        found.push(Entry {
            path: path.to_string(),
            content: Content::File {
                from: file,
                mode: 0o644,
            },
        });
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn write(entries: &[Entry], to: &mut dyn Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(to);
    for entry in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mtime(0);
        match &entry.content {
            Content::File { from, mode } => {
                let file = fs::File::open(from)?;
                header.set_size(file.metadata()?.len());
                header.set_mode(*mode);
                tar.append_data(&mut header, &entry.path, file)?;
            }
            Content::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                tar.append_data(&mut header, &entry.path, io::empty())?;
            }
            Content::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                tar.append_link(&mut header, &entry.path, target)?;
            }
        }
    }
    tar.finish()
}

/// Writes the files of a tar into a folder; nothing that is there is written over.
pub(crate) async fn unpack(
    tar: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    folder: PathBuf,
) -> Result<Vec<PathBuf>, CliError> {
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(tar)));
    let reading = tokio::task::spawn_blocking(move || read(reader, &folder));
    let done = reading.await.map_err(io::Error::other).flatten();
    done.map_err(|error| {
        CliError::input(
            format!("the files can't be written: {error}"),
            "give a folder that has no such files, on a disk with room",
        )
    })
}

fn read(tar: impl io::Read, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes().into_owned();
        let path = String::from_utf8(path).map_err(io::Error::other)?;
        let path: FilePath = path.parse().map_err(io::Error::other)?;
        if !entry.header().entry_type().is_file() {
            return Err(io::Error::other(format!("{path} is no file")));
        }
        let target = folder.join(path.as_str());
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&target)?;
        io::copy(&mut entry, &mut file)?;
        written.push(target);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_packed_comes_out_the_same_and_writes_over_nothing() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = from.path().join("mdir");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::write(root.join("sub/b.bin"), vec![7; 300_000]).unwrap();
        fs::write(root.join("a"), "").unwrap();
        let written = unpack(pack(&root).unwrap(), to.path().into())
            .await
            .unwrap();
        let below: Vec<_> = written
            .iter()
            .map(|path| path.strip_prefix(to.path()).unwrap().display().to_string())
            .collect();
        assert_eq!(below, ["mdir/a", "mdir/sub/b.bin"]);
        assert_eq!(fs::read(&written[1]).unwrap(), vec![7; 300_000]);
        let again = unpack(pack(&root).unwrap(), to.path().into()).await;
        assert!(again.is_err());
        let one: Vec<Bytes> = pack(&root.join("a")).unwrap().try_collect().await.unwrap();
        assert!(one.concat().starts_with(b"a\0"));
    }

    #[tokio::test]
    async fn links_are_refused_and_so_is_what_leaves_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(pack(folder.path()).is_err());
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.as_mut_bytes()[..4].copy_from_slice(b"../a");
        header.set_cksum();
        tar.append(&header, io::empty()).unwrap();
        let bytes = Bytes::from(tar.into_inner().unwrap());
        let stream = futures::stream::iter([Ok(bytes)]);
        assert!(unpack(stream, folder.path().join("in")).await.is_err());
        assert!(!folder.path().join("a").exists());
    }
}
