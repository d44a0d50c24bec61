//! Writes entries into a real folder.
//!
//! Every path is walked component by component from the folder's own descriptor. A symlink that is
//! met on the way is followed by hand and only inside the folder, as conda and pip follow `lib64`;
//! one that leads out is an error. Files are made anew, never opened through what stands there.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::path::Path;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::entry::{Entry, Node, Sink};
use crate::path::PrefixPath;

/// As many symlinks as the kernel follows in one path.
const MAX_LINKS: usize = 40;
const COPY_BUFFER_BYTES: usize = 256 << 10;

/// A folder that becomes a prefix.
pub struct FolderSink {
    root: OwnedFd,
    /// The directory of the last entry; archives keep a directory's files together.
    last: Option<(String, OwnedFd)>,
    buffer: Vec<u8>,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A regular file.
    File,
    /// A symlink, not followed.
    Symlink,
    /// A directory.
    Directory,
    /// Something else.
    Other,
}

impl FolderSink {
    /// Opens a folder, which is made with its parents where it is missing.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs_err::create_dir_all(folder)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = fs::open(folder, flags, Mode::empty())?;
        Ok(Self {
            root,
            last: None,
            buffer: Vec::new(),
        })
    }

    /// What stands at a path.
    pub fn find(&self, path: &PrefixPath) -> io::Result<Option<Found>> {
        let Some(directory) = self.walk(path.parent(), false)? else {
            return Ok(None);
        };
        match fs::statat(&directory, path.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Found::File,
                FileType::Symlink => Found::Symlink,
                FileType::Directory => Found::Directory,
                _ => Found::Other,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A regular file's content; `None` when there is none.
    pub fn read(&self, path: &PrefixPath, limit: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(directory) = self.walk(path.parent(), false)? else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match fs::openat(&directory, path.file_name(), flags, Mode::empty()) {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("{path} is no regular file")));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::other(format!(
                "{path} has more than {limit} bytes"
            )));
        }
        Ok(Some(bytes))
    }

    /// The names in a directory, sorted; none when it doesn't exist. Names that are no text or no
    /// safe component are left out.
    pub fn list(&self, path: &PrefixPath) -> io::Result<Vec<String>> {
        let Some(directory) = self.walk(Some(path.as_str()), false)? else {
            return Ok(Vec::new());
        };
        let mut names = Vec::new();
        for entry in fs::Dir::read_from(&directory)? {
            let entry = entry?;
            if let Ok(name) = entry.file_name().to_str()
                && PrefixPath::new(name).is_ok()
            {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Removes a file or symlink and the directories that thereby become empty; says whether there
    /// was one.
    pub fn remove(&mut self, path: &PrefixPath) -> io::Result<bool> {
        self.last = None;
        let Some(directory) = self.walk(path.parent(), false)? else {
            return Ok(false);
        };
        match fs::unlinkat(&directory, path.file_name(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let mut empty = path
            .parent()
            .and_then(|parent| PrefixPath::new(parent).ok());
        while let Some(path) = empty {
            let Some(directory) = self.walk(path.parent(), false)? else {
                break;
            };
            match fs::unlinkat(&directory, path.file_name(), AtFlags::REMOVEDIR) {
                Ok(()) => {
                    empty = path
                        .parent()
                        .and_then(|parent| PrefixPath::new(parent).ok());
                }
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR | Errno::NOENT) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Opens a directory below the folder; `None` when it doesn't exist and isn't to be made.
    fn walk(&self, path: Option<&str>, make: bool) -> io::Result<Option<OwnedFd>> {
        let mut stack = vec![self.root.as_fd().try_clone_to_owned()?];
        let mut todo: VecDeque<String> = path
            .unwrap_or_default()
            .split('/')
            .filter(|c| !c.is_empty())
            .map(str::to_owned)
            .collect();
        let mut links = 0;
        while let Some(component) = todo.pop_front() {
            match component.as_str() {
                "" | "." => continue,
                ".." if stack.len() > 1 => {
                    stack.pop();
                    continue;
                }
                ".." => return Err(leaves_folder(path)),
                _ => {}
            }
            let here = stack.last().expect("the root is never popped").as_fd();
            match step(here, &component, make)? {
                Step::Into(directory) => stack.push(directory),
                Step::Link(target) => {
                    links += 1;
                    if target.starts_with('/') || links > MAX_LINKS {
                        return Err(leaves_folder(path));
                    }
                    for component in target.rsplit('/') {
                        todo.push_front(component.to_owned());
                    }
                }
                Step::Missing => return Ok(None),
            }
        }
        Ok(stack.pop())
    }

    fn directory(&mut self, path: Option<&str>) -> io::Result<BorrowedFd<'_>> {
        let path = path.unwrap_or_default();
        if self.last.as_ref().is_none_or(|(last, _)| last != path) {
            let found = self.walk(Some(path), true)?;
            let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            self.last = Some((path.to_owned(), found));
        }
        let (_, directory) = self.last.as_ref().expect("it was set above");
        Ok(directory.as_fd())
    }

    /// Makes room for a file or link: what stands there goes, except a directory with content.
    fn clear(directory: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        match fs::unlinkat(directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Ok(fs::unlinkat(directory, name, AtFlags::REMOVEDIR)?),
            Err(error) => Err(error.into()),
        }
    }
}

enum Step {
    Into(OwnedFd),
    Link(String),
    Missing,
}

fn step(directory: BorrowedFd<'_>, name: &str, make: bool) -> io::Result<Step> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || fs::openat(directory, name, flags, Mode::empty());
    match open() {
        Ok(found) => Ok(Step::Into(found)),
        Err(Errno::NOENT) if make => {
            match fs::mkdirat(directory, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            // The mode is set apart from the process's mask, which is not the image's business.
            let made = open()?;
            fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
            Ok(Step::Into(made))
        }
        Err(Errno::NOENT) => Ok(Step::Missing),
        // With both flags Linux answers ENOTDIR for a symlink as for a file.
        Err(Errno::NOTDIR | Errno::LOOP) => {
            let target = fs::readlinkat(directory, name, Vec::new())
                .map_err(|_| io::Error::from(io::ErrorKind::NotADirectory))?;
            let target = target.into_string().map_err(io::Error::other)?;
            Ok(Step::Link(target))
        }
        Err(error) => Err(error.into()),
    }
}

fn leaves_folder(path: Option<&str>) -> io::Error {
    let path = path.unwrap_or_default();
    io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{path:?} leads through a symlink out of the prefix"),
    )
}

fn times(mtime: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime,
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

impl Sink for FolderSink {
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let name = entry.path.file_name();
        match entry.node {
            Node::Directory => {
                self.directory(Some(entry.path.as_str()))?;
            }
            Node::Symlink { target, mtime } => {
                let directory = self.directory(entry.path.parent())?;
                Self::clear(directory, name)?;
                fs::symlinkat(target, directory, name)?;
                fs::utimensat(directory, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Node::File {
                mode,
                mtime,
                size: _,
                content,
            } => {
                let mut buffer = std::mem::take(&mut self.buffer);
                buffer.resize(COPY_BUFFER_BYTES, 0);
                let directory = self.directory(entry.path.parent())?;
                Self::clear(directory, name)?;
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let made = fs::openat(
                    directory,
                    name,
                    flags | OFlags::CLOEXEC,
                    Mode::from_raw_mode(0o600),
                )?;
                let mut file = std::fs::File::from(made);
                copy(content, &mut file, &mut buffer)?;
                fs::fchmod(&file, Mode::from_raw_mode(mode & 0o777))?;
                fs::futimens(&file, &times(mtime))?;
                self.buffer = buffer;
            }
        }
        Ok(())
    }
}

fn copy(from: &mut dyn io::Read, to: &mut std::fs::File, buffer: &mut [u8]) -> io::Result<()> {
    use io::Write as _;
    loop {
        let n = match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(&buffer[..n])?;
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;
    use crate::entry::Origin;

    fn path(text: &str) -> PrefixPath {
        PrefixPath::new(text).expect("the path is safe")
    }

    fn put(sink: &mut FolderSink, to: &str, text: &str) -> io::Result<()> {
        let path = path(to);
        let mut content = text.as_bytes();
        let size = text.len() as u64;
        let node = Node::File {
            mode: 0o755,
            mtime: 1_000,
            size,
            content: &mut content,
        };
        sink.put(Entry {
            path: &path,
            origin: Origin::Shipped,
            node,
        })
    }

    #[test]
    fn files_have_their_mode_time_and_content_whatever_stood_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut sink = FolderSink::open(&dir.path().join("env")).expect("it is made");
        put(&mut sink, "a/b/c", "one").expect("written");
        put(&mut sink, "a/b/c", "two").expect("written again");
        let file = dir.path().join("env/a/b/c");
        assert_eq!(fs_err::read(&file).expect("readable"), b"two");
        let metadata = fs_err::metadata(&file).expect("it exists");
        assert_eq!(
            (metadata.permissions().mode() & 0o7777, metadata.mtime()),
            (0o755, 1_000)
        );
        assert!(sink.remove(&path("a/b/c")).expect("removable"));
        assert!(
            !dir.path().join("env/a").exists(),
            "emptied directories go too"
        );
        assert!(dir.path().join("env").exists());
    }

    #[test]
    fn a_symlink_inside_is_followed_and_one_that_leads_out_is_not() {
        let dir = tempfile::tempdir().expect("a folder");
        let env = dir.path().join("env");
        let mut sink = FolderSink::open(&env).expect("it is made");
        put(&mut sink, "lib/x", "1").expect("written");
        symlink("lib", env.join("lib64")).expect("linked");
        put(&mut sink, "lib64/y", "2").expect("written through the link");
        assert_eq!(fs_err::read(env.join("lib/y")).expect("readable"), b"2");
        for (name, target) in [
            ("up", ".."),
            ("absolute", dir.path().to_str().expect("text")),
            ("twice", "lib/../.."),
            ("loop", "loop"),
        ] {
            symlink(target, env.join(name)).expect("linked");
            let error = put(&mut sink, &format!("{name}/evil"), "x").expect_err("refused");
            assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{name}");
            assert!(sink.read(&path(&format!("{name}/evil")), 9).is_err());
        }
        assert!(!dir.path().join("evil").exists());
    }

    #[test]
    fn a_file_replaces_a_symlink_and_not_what_it_points_to() {
        let dir = tempfile::tempdir().expect("a folder");
        let outside = dir.path().join("outside");
        fs_err::write(&outside, "safe").expect("written");
        let env = dir.path().join("env");
        let mut sink = FolderSink::open(&env).expect("it is made");
        symlink(&outside, env.join("x")).expect("linked");
        assert!(
            sink.read(&path("x"), 9).is_err(),
            "a link is not read through"
        );
        put(&mut sink, "x", "new").expect("written");
        assert_eq!(fs_err::read(&outside).expect("readable"), b"safe");
        assert_eq!(
            sink.read(&path("x"), 9).expect("readable").as_deref(),
            Some(&b"new"[..])
        );
        assert_eq!(sink.find(&path("x")).expect("found"), Some(Found::File));
    }

    #[test]
    fn a_file_is_no_directory_and_a_full_directory_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut sink = FolderSink::open(dir.path()).expect("it is there");
        put(&mut sink, "x", "1").expect("written");
        let error = put(&mut sink, "x/y", "2").expect_err("x is a file");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        put(&mut sink, "d/f", "1").expect("written");
        put(&mut sink, "d", "2").expect_err("d has content");
    }
}
