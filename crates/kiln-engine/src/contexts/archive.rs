//! A context's tar: what comes in any form goes out in one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use kiln_store::FilePath;

use crate::error::{EngineError, of_io};

/// Files, folders and links of a context at most.
pub const CONTEXT_FILES_LIMIT: usize = 100_000;
/// A longer text is no Dockerfile that is built.
const DOCKERFILE_BYTES: u64 = 100 << 10;

/// Why a tar is no build context.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextArchiveError {
    /// It is no tar, or it breaks off.
    #[error("the context's tar can't be read")]
    Tar(#[source] io::Error),
    /// An entry does not do.
    #[error("the context's tar has an entry `{path}`: {reason}")]
    Entry {
        /// The path, without control characters.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are too many files.
    #[error("the context has more than {CONTEXT_FILES_LIMIT} files")]
    TooMany,
    /// It is too large.
    #[error("the context's tar has more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// It can't be written down.
    #[error("the context can't be kept")]
    Disk(#[source] io::Error),
}

impl From<ContextArchiveError> for EngineError {
    fn from(error: ContextArchiveError) -> Self {
        let remedy = match &error {
            ContextArchiveError::Disk(source) => {
                return Self::Failed(of_io("the context", source));
            }
            ContextArchiveError::Tar(_) => "send a tar of the folder, without compression",
            ContextArchiveError::Entry { .. } => "leave it out, by name in `.dockerignore`",
            ContextArchiveError::TooMany => {
                "leave out what the build does not read, in `.dockerignore`"
            }
            ContextArchiveError::TooLarge { .. } => {
                "leave out what the build does not read, in `.dockerignore`, or raise `limits.context_mib`"
            }
        };
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        Self::Invalid {
            message: format!("{error}{}", cause.unwrap_or_default()),
            remedy: remedy.into(),
        }
    }
}

/// An entry of the tar that came.
enum Entry {
    Folder,
    File { offset: u64, size: u64, mode: u32 },
    Link(String),
}

/// Writes the tar's entries in the order of their paths, with no more than path, content, target, and
/// whether a file can be run. Answers the new tar from its start, and how many files and links it has.
pub(super) fn normalise(
    tar: impl Read,
    limit: u64,
    folder: &Path,
) -> Result<(File, u64), ContextArchiveError> {
    let mut came = tempfile::tempfile_in(folder).map_err(ContextArchiveError::Disk)?;
    spool(tar, limit, &mut came)?;
    let entries = entries(&mut came)?;
    let mut out = tempfile::tempfile_in(folder).map_err(ContextArchiveError::Disk)?;
    write(&entries, &mut came, &mut out).map_err(ContextArchiveError::Disk)?;
    out.seek(SeekFrom::Start(0))
        .map_err(ContextArchiveError::Disk)?;
    let is_folder = |entry: &&Entry| matches!(entry, Entry::Folder);
    let folders = entries.values().filter(is_folder).count();
    Ok((out, (entries.len() - folders) as u64))
}

/// Keeps what comes, up to the limit.
fn spool(mut tar: impl Read, limit: u64, to: &mut File) -> Result<(), ContextArchiveError> {
    let (mut buffer, mut total) = (vec![0; 64 << 10], 0_u64);
    loop {
        let n = match tar.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ContextArchiveError::Tar(error)),
        };
        total += n as u64;
        if total > limit {
            return Err(ContextArchiveError::TooLarge { limit });
        }
        to.write_all(&buffer[..n])
            .map_err(ContextArchiveError::Disk)?;
    }
    to.seek(SeekFrom::Start(0))
        .map(drop)
        .map_err(ContextArchiveError::Disk)
}

fn entries(tar: &mut File) -> Result<BTreeMap<FilePath, Entry>, ContextArchiveError> {
    let mut archive = tar::Archive::new(io::BufReader::new(tar));
    let mut found = BTreeMap::new();
    for entry in archive.entries().map_err(ContextArchiveError::Tar)? {
        let mut entry = entry.map_err(ContextArchiveError::Tar)?;
        let kind = entry.header().entry_type();
        if kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        let raw = entry.path_bytes().into_owned();
        let fault = |reason: &dyn std::fmt::Display| entry_error(&raw, reason);
        let text = std::str::from_utf8(&raw).map_err(|_| fault(&"its name is no UTF-8"))?;
        let text = text.strip_prefix("./").unwrap_or(text);
        let text = text.trim_end_matches('/');
        if kind.is_dir() && matches!(text, "" | ".") {
            continue;
        }
        let path: FilePath = text.parse().map_err(|error| fault(&error))?;
        let kept = if kind.is_dir() {
            Entry::Folder
        } else if kind.is_file() || kind == tar::EntryType::Continuous {
            let mode = entry.header().mode().map_err(ContextArchiveError::Tar)?;
            let (offset, size) = (entry.raw_file_position(), entry.size());
            let read = io::copy(&mut entry, &mut io::sink()).map_err(ContextArchiveError::Tar)?;
            if read != size {
                return Err(ContextArchiveError::Tar(
                    io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            Entry::File { offset, size, mode }
        } else if kind.is_symlink() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = String::from_utf8(target).map_err(|_| fault(&"its target is no UTF-8"))?;
            if !stays_inside(&path, &target) {
                return Err(fault(&"it links to what is outside the context"));
            }
            Entry::Link(target)
        } else {
            return Err(fault(&"it is no file, folder or symbolic link"));
        };
        let is_folder = matches!(kept, Entry::Folder);
        match found.insert(path, kept) {
            None => {}
            Some(Entry::Folder) if is_folder => {}
            Some(_) => return Err(fault(&"it is there twice")),
        }
        if found.len() > CONTEXT_FILES_LIMIT {
            return Err(ContextArchiveError::TooMany);
        }
    }
    with_parents(found)
}

/// Adds the folders that only paths name; nothing lies below a file or a link.
fn with_parents(
    mut found: BTreeMap<FilePath, Entry>,
) -> Result<BTreeMap<FilePath, Entry>, ContextArchiveError> {
    let mut parents = BTreeMap::new();
    for path in found.keys() {
        let text = path.as_str();
        for (at, _) in text.match_indices('/') {
            let parent = &text[..at];
            let parent: FilePath = parent
                .parse()
                .map_err(|error| entry_error(text.as_bytes(), &error))?;
            match found.get(&parent) {
                None => drop(parents.insert(parent, Entry::Folder)),
                Some(Entry::Folder) => {}
                Some(_) => {
                    let reason = format!("it lies below `{parent}`, which is no folder");
                    return Err(entry_error(text.as_bytes(), &reason));
                }
            }
        }
    }
    found.append(&mut parents);
    Ok(found)
}

/// Whether a link's target, as it is written, lies below the root.
fn stays_inside(link: &FilePath, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.chars().any(char::is_control) {
        return false;
    }
    let mut depth = link.parts().count() - 1;
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => match depth.checked_sub(1) {
                Some(up) => depth = up,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

fn write(entries: &BTreeMap<FilePath, Entry>, from: &mut File, to: &mut File) -> io::Result<()> {
    let mut tar = tar::Builder::new(io::BufWriter::new(to));
    for (path, entry) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        match entry {
            Entry::Folder => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(0o755);
                header.set_size(0);
                tar.append_data(&mut header, format!("{path}/"), io::empty())?;
            }
            Entry::Link(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_mode(0o777);
                header.set_size(0);
                tar.append_link(&mut header, path.as_str(), target)?;
            }
            Entry::File { offset, size, mode } => {
                header.set_mode(if mode & 0o111 == 0 { 0o644 } else { 0o755 });
                header.set_size(*size);
                from.seek(SeekFrom::Start(*offset))?;
                let content = io::BufReader::new(&mut *from).take(*size);
                tar.append_data(&mut header, path.as_str(), content)?;
            }
        }
    }
    tar.into_inner()?.flush()
}

/// The text of a Dockerfile in a normalised tar; none where it is missing, too long or no UTF-8 text.
pub(super) fn dockerfile(tar: impl Read, path: &str) -> io::Result<Option<String>> {
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        if *entry.path_bytes() != *path.as_bytes() {
            continue;
        }
        let fits = entry.header().entry_type().is_file() && entry.size() <= DOCKERFILE_BYTES;
        if !fits {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        return Ok(String::from_utf8(bytes).ok());
    }
    Ok(None)
}

fn entry_error(path: &[u8], reason: &dyn std::fmt::Display) -> ContextArchiveError {
    let path = String::from_utf8_lossy(path);
    ContextArchiveError::Entry {
        path: path.chars().filter(|c| !c.is_control()).take(200).collect(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const FILE: tar::EntryType = tar::EntryType::Regular;
    const FOLDER: tar::EntryType = tar::EntryType::Directory;
    const LINK: tar::EntryType = tar::EntryType::Symlink;

    /// Path, kind, mode, content or target.
    type Raw<'a> = (&'a str, tar::EntryType, u32, &'a str);

    fn tar_of(entries: &[Raw<'_>]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (index, (path, kind, mode, text)) in entries.iter().enumerate() {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(*mode);
            header.set_uid(1000);
            header.set_mtime(index as u64);
            // The library would refuse to write what a hostile client sends.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            let is_link = matches!(*kind, tar::EntryType::Symlink | tar::EntryType::Link);
            if is_link {
                header.set_link_name_literal(text).unwrap();
            }
            let content = if is_link { "" } else { text };
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn normal(tar: &[u8], limit: u64) -> Result<(Vec<u8>, u64), ContextArchiveError> {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, files) = normalise(tar, limit, folder.path())?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        Ok((bytes, files))
    }

    #[test]
    fn order_times_owners_and_implied_folders_do_not_count() {
        let one = tar_of(&[
            ("./", FOLDER, 0o755, ""),
            ("./Dockerfile", FILE, 0o664, "FROM a\n"),
            ("./sub/", FOLDER, 0o700, ""),
            ("./sub/run.sh", FILE, 0o700, "echo"),
            ("./sub/link", LINK, 0o777, "../Dockerfile"),
        ]);
        let other = tar_of(&[
            ("sub/link", LINK, 0o755, "../Dockerfile"),
            ("sub/run.sh", FILE, 0o755, "echo"),
            ("Dockerfile", FILE, 0o600, "FROM a\n"),
        ]);
        let (bytes, files) = normal(&one, 1 << 20).unwrap();
        assert_eq!(files, 3);
        assert_eq!(normal(&other, 1 << 20).unwrap(), (bytes.clone(), 3));
        assert_eq!(normal(&bytes, 1 << 20).unwrap(), (bytes.clone(), 3));
        let told: Vec<_> = tar::Archive::new(bytes.as_slice())
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                format!("{path} {:o}", entry.header().mode().unwrap())
            })
            .collect();
        let expected = [
            "Dockerfile 644",
            "sub/ 755",
            "sub/link 777",
            "sub/run.sh 755",
        ];
        assert_eq!(told, expected);
        let not_runnable = tar_of(&[("sub/run.sh", FILE, 0o644, "echo")]);
        let runnable = tar_of(&[("sub/run.sh", FILE, 0o744, "echo")]);
        assert_ne!(
            normal(&not_runnable, 1 << 20).unwrap(),
            normal(&runnable, 1 << 20).unwrap()
        );
        let text = dockerfile(bytes.as_slice(), "Dockerfile").unwrap();
        assert_eq!(text.as_deref(), Some("FROM a\n"));
        assert_eq!(dockerfile(bytes.as_slice(), "sub/link").unwrap(), None);
        assert_eq!(dockerfile(bytes.as_slice(), "nothing").unwrap(), None);
    }

    #[rstest]
    #[case(&[("../a", FILE, 0o644, "")])]
    #[case(&[("/etc/passwd", FILE, 0o644, "")])]
    #[case(&[("a/../../b", FILE, 0o644, "")])]
    #[case(&[("a\\b", FILE, 0o644, "")])]
    #[case(&[("a", LINK, 0o777, "/etc/passwd")])]
    #[case(&[("a", LINK, 0o777, "../x")])]
    #[case(&[("a/b", LINK, 0o777, "c/../../../x")])]
    #[case(&[("a", tar::EntryType::Link, 0o644, "b")])]
    #[case(&[("a", tar::EntryType::Char, 0o644, "")])]
    #[case(&[("a", tar::EntryType::Fifo, 0o644, "")])]
    #[case(&[("a", FILE, 0o644, ""), ("./a", FILE, 0o644, "")])]
    #[case(&[("a", LINK, 0o777, "b"), ("a/c", FILE, 0o644, "")])]
    #[case(&[("a", FILE, 0o644, ""), ("a/c", FILE, 0o644, "")])]
    #[case(&[("a", FILE, 0o644, ""), ("a/", FOLDER, 0o755, "")])]
    fn what_leaves_the_root_or_is_two_things_is_refused_by_name(#[case] entries: &[Raw<'_>]) {
        let error = normal(&tar_of(entries), 1 << 20).unwrap_err();
        assert!(
            matches!(error, ContextArchiveError::Entry { .. }),
            "{error}"
        );
    }

    #[test]
    fn a_tar_that_is_too_large_breaks_off_or_is_none_is_refused() {
        let tar = tar_of(&[("a", FILE, 0o644, "abc")]);
        let large = normal(&tar, 100).unwrap_err();
        assert!(matches!(
            large,
            ContextArchiveError::TooLarge { limit: 100 }
        ));
        let cut = normal(&tar[..514], 1 << 20).unwrap_err();
        assert!(matches!(cut, ContextArchiveError::Tar(_)), "{cut}");
        let none = normal(&[b'x'; 1024], 1 << 20).unwrap_err();
        assert!(matches!(none, ContextArchiveError::Tar(_)), "{none}");
    }
}
