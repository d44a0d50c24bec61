//! The run over a package's archive that writes its files.

use std::collections::{HashMap, HashSet};

use super::FileMode;
use super::archive::Files;
use super::info::ListedPath;
use super::package::CondaPackage;
use super::placeholder;
use super::record::PathData;
use crate::entry::{Entry, Node, Origin, Sink};
use crate::error::{Found, Problem};
use crate::hash::{Expected, Hashing, Verifying, drain, sha256};
use crate::limits::read_limited;
use crate::linked::{Linked, Script, ScriptKind};
use crate::path::PrefixPath;
use crate::tar::{TarEntry, TarKind};

/// Up to this size a file with several names is held in memory while each is written.
const HELD_BYTES: u64 = 32 << 20;

/// One linking: what has been written so far.
pub(super) struct Run<'a> {
    package: &'a CondaPackage,
    sink: &'a mut dyn Sink,
    index: HashMap<&'a PrefixPath, usize>,
    points: HashSet<&'a PrefixPath>,
    /// By position in the package's list.
    pub(super) done: Vec<Option<PathData>>,
    /// Paths that are another's second name, by position, with that other's path.
    links: Vec<(usize, PrefixPath, TarEntry)>,
    pub(super) linked: Linked,
}

impl<'a> Run<'a> {
    pub(super) fn new(package: &'a CondaPackage, sink: &'a mut dyn Sink) -> Self {
        let paths = &package.info.paths;
        Self {
            package,
            sink,
            index: paths
                .iter()
                .enumerate()
                .map(|(at, listed)| (&listed.path, at))
                .collect(),
            points: package.points.iter().collect(),
            done: paths.iter().map(|_| None).collect(),
            links: Vec::new(),
            linked: Linked::default(),
        }
    }

    fn listed(&self, at: usize) -> &'a ListedPath {
        &self.package.info.paths[at]
    }

    /// Streams the archive once and writes what it lists.
    pub(super) fn files(&mut self) -> Result<(), Found> {
        let mut files = self.package.archive.files()?;
        let mut seen = HashSet::new();
        while let Some(entry) = files.next_entry()? {
            if entry.kind == TarKind::Directory && matches!(entry.name.as_str(), "." | "./") {
                continue;
            }
            let name = entry.name.clone();
            self.one(&mut files, entry, &mut seen)
                .map_err(|problem| problem.at(name))?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        files: &mut Files,
        entry: TarEntry,
        seen: &mut HashSet<PrefixPath>,
    ) -> Result<(), Problem> {
        let path = PrefixPath::from_archive(&entry.name)?;
        if entry.kind == TarKind::Directory {
            return Ok(()); // made where files need it; empty ones are in the list
        }
        if entry.mode & 0o6000 != 0 && entry.kind == TarKind::File {
            return Err(Problem::SetId);
        }
        let at = self.index.get(&path).copied();
        if !seen.insert(path.clone()) {
            return Err(Problem::Duplicate);
        }
        let Some(at) = at else {
            return check_unlisted(&path, &entry.kind); // not linked: metadata
        };
        match &entry.kind {
            TarKind::File => self.file(at, files, &entry),
            TarKind::Symlink(target) => self.symlink(at, target, entry.mtime),
            TarKind::HardLink(other) => {
                let other = PrefixPath::from_archive(other)?;
                self.links.push((at, other, entry));
                Ok(())
            }
            TarKind::Directory => Ok(()),
        }
    }

    fn symlink(&mut self, at: usize, target: &str, mtime: i64) -> Result<(), Problem> {
        let listed = self.listed(at);
        let path = &self.package.targets[at];
        if !path.link_stays_inside(target) || !listed.path.link_stays_inside(target) {
            return Err(Problem::LinkOutside {
                target: target.to_owned(),
            });
        }
        if !self.points.contains(path) {
            self.sink
                .put(Entry {
                    path,
                    origin: Origin::Shipped,
                    node: Node::Symlink { target, mtime },
                })
                .map_err(Problem::from_write)?;
            self.linked.files += 1;
        }
        self.done[at] = Some(PathData {
            path: path.to_string(),
            path_type: "softlink",
            no_link: listed.no_link,
            sha256: listed.sha256.map(hex::encode),
            size_in_bytes: listed.size,
            ..PathData::default()
        });
        Ok(())
    }

    fn file(
        &mut self,
        at: usize,
        content: &mut dyn std::io::Read,
        entry: &TarEntry,
    ) -> Result<(), Problem> {
        let listed = self.listed(at);
        let expected = listed
            .sha256
            .map(|sha256| Expected::Sha256(sha256.to_vec()));
        // conda takes a size of nothing for an unknown one.
        let expected_size = listed.size.filter(|size| *size != 0);
        let verified = Verifying::new(content, expected, expected_size);
        match &listed.placeholder {
            None => self.verbatim(at, verified, entry),
            Some((placeholder, mode)) => self.patched(at, verified, entry, placeholder, *mode),
        }
    }

    fn verbatim(
        &mut self,
        at: usize,
        content: Verifying<&mut dyn std::io::Read>,
        entry: &TarEntry,
    ) -> Result<(), Problem> {
        let mut content = Hashing::new(content);
        self.put(at, entry.mode, entry.mtime, entry.size, &mut content)?;
        drain(&mut content)?;
        let (hash, size) = content.finish();
        self.note(at, hash, hash, size);
        Ok(())
    }

    fn patched(
        &mut self,
        at: usize,
        content: Verifying<&mut dyn std::io::Read>,
        entry: &TarEntry,
        placeholder: &str,
        mode: FileMode,
    ) -> Result<(), Problem> {
        let limit = self.package.target.limits.patched_bytes;
        let mut content = Hashing::new(content);
        let data = read_limited(&mut content, "bytes in a file with a prefix", limit)?;
        let (hash, size) = content.finish();
        let prefix = self.package.target.prefix.as_str();
        let (data, changed) = placeholder::replace(data, mode, placeholder, prefix)?;
        let mtime = if changed {
            self.package.mtime()
        } else {
            entry.mtime
        };
        self.put(
            at,
            entry.mode | 0o200,
            mtime,
            data.len() as u64,
            &mut data.as_slice(),
        )?;
        self.note(at, hash, sha256(&data), size);
        Ok(())
    }

    fn put(
        &mut self,
        at: usize,
        mode: u32,
        mtime: i64,
        size: u64,
        content: &mut dyn std::io::Read,
    ) -> Result<(), Problem> {
        let path = &self.package.targets[at];
        if self.points.contains(path) {
            return Ok(()); // conda writes the entry point's script over it
        }
        self.linked.add(size, &self.package.target.limits)?;
        if let Some(kind) = ScriptKind::of(path, &self.package.request.name) {
            self.linked.scripts.push(Script {
                kind,
                path: path.clone(),
            });
        }
        let node = Node::File {
            mode: (mode & 0o755) | 0o400,
            mtime,
            size,
            content,
        };
        self.sink
            .put(Entry {
                path,
                origin: Origin::Shipped,
                node,
            })
            .map_err(Problem::from_write)
    }

    fn note(&mut self, at: usize, hash: [u8; 32], in_prefix: [u8; 32], size: u64) {
        let listed = self.listed(at);
        self.done[at] = Some(PathData {
            path: self.package.targets[at].to_string(),
            file_mode: listed.placeholder.as_ref().map(|(_, mode)| match mode {
                FileMode::Text => "text",
                FileMode::Binary => "binary",
            }),
            no_link: listed.no_link,
            path_type: "hardlink",
            prefix_placeholder: listed.placeholder.as_ref().map(|(text, _)| text.clone()),
            sha256: Some(hex::encode(hash)),
            sha256_in_prefix: Some(hex::encode(in_prefix)),
            size_in_bytes: Some(size),
        });
    }

    /// Writes second names: the archive is streamed again until each has the content of its first.
    pub(super) fn hard_links(&mut self) -> Result<(), Found> {
        while !self.links.is_empty() {
            let before = self.links.len();
            let mut files = self.package.archive.files()?;
            while let Some(entry) = files.next_entry()? {
                if entry.kind != TarKind::File {
                    continue;
                }
                let path = PrefixPath::from_archive(&entry.name).map_err(Problem::from)?;
                let name = entry.name.clone();
                self.names_of(&path, &mut files, &entry)
                    .map_err(|problem| problem.at(name))?;
            }
            if self.links.len() == before {
                let (_, _, entry) = &self.links[0];
                let problem = Problem::Archive("a hard link's first name is no file");
                return Err(problem.at(&entry.name));
            }
        }
        Ok(())
    }

    fn names_of(
        &mut self,
        first: &PrefixPath,
        files: &mut Files,
        entry: &TarEntry,
    ) -> Result<(), Problem> {
        let held = entry.size <= HELD_BYTES;
        let mut content: Option<Vec<u8>> = None;
        while let Some(nth) = self.links.iter().position(|(_, other, _)| other == first) {
            let (at, ..) = self.links.swap_remove(nth);
            if !held {
                return self.file(at, files, entry);
            }
            let bytes = match content.take() {
                Some(bytes) => bytes,
                None => read_limited(files, "bytes in a file with two names", HELD_BYTES)?,
            };
            self.file(at, &mut bytes.as_slice(), entry)?;
            content = Some(bytes);
        }
        Ok(())
    }

    /// Empty directories of the list; a listed file that never came is an error.
    pub(super) fn rest(&mut self) -> Result<(), Found> {
        for at in 0..self.done.len() {
            if self.done[at].is_some() {
                continue;
            }
            let listed = self.listed(at);
            let path = &self.package.targets[at];
            if !listed.directory {
                return Err(Problem::Missing.at(listed.path.as_str()));
            }
            self.sink
                .put(Entry {
                    path,
                    origin: Origin::Shipped,
                    node: Node::Directory,
                })
                .map_err(|error| Problem::from_write(error).at(path.as_str()))?;
            self.done[at] = Some(PathData {
                path: path.to_string(),
                path_type: "directory",
                ..PathData::default()
            });
        }
        Ok(())
    }

    pub(super) fn entry_points(&mut self) -> Result<(), Found> {
        let Some(python) = &self.package.target.python else {
            return Ok(());
        };
        for point in &self.package.info.entry_points {
            let text = point.script(&self.package.target.prefix, python);
            let path = point.path();
            self.linked
                .add(text.len() as u64, &self.package.target.limits)?;
            self.sink
                .put(Entry {
                    path: &path,
                    origin: Origin::EntryPoint,
                    node: Node::File {
                        mode: 0o755,
                        mtime: self.package.mtime(),
                        size: text.len() as u64,
                        content: &mut text.as_bytes(),
                    },
                })
                .map_err(|error| Problem::from_write(error).at(path.as_str()))?;
        }
        Ok(())
    }
}

/// What a package doesn't list is not linked; links out of the prefix are refused even so, except
/// among the metadata, where recipes may have any.
fn check_unlisted(path: &PrefixPath, kind: &TarKind) -> Result<(), Problem> {
    if path.as_str().starts_with("info/") {
        return Ok(());
    }
    match kind {
        TarKind::Symlink(target) if !path.link_stays_inside(target) => Err(Problem::LinkOutside {
            target: target.clone(),
        }),
        TarKind::HardLink(target) => Ok(PrefixPath::from_archive(target).map(drop)?),
        _ => Ok(()),
    }
}
