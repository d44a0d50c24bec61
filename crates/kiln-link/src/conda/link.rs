//! Links one conda package.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use super::FileMode;
use super::archive::{Archive, Files};
use super::info::{Info, ListedPath, Noarch};
use super::placeholder;
use super::record::{PathData, PathsData, Record, without_credentials};
use crate::entry::{CONSTANT_MTIME, Entry, Node, Origin, Sink};
use crate::error::{Found, LinkError, Problem};
use crate::hash::{Expected, Hashing, Verifying, drain, sha256};
use crate::limits::read_limited;
use crate::linked::{Linked, Script, ScriptKind};
use crate::path::PrefixPath;
use crate::tar::{TarEntry, TarKind};
use crate::target::{PythonTarget, Target};

/// Up to this size a file with several names is held in memory while each is written.
const HELD_BYTES: u64 = 32 << 20;

/// The package that is expected in an archive, as the lock names it.
#[derive(Debug, Clone)]
pub struct CondaRequest {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its build string.
    pub build: String,
    /// Its build number.
    pub build_number: u64,
    /// `linux-64`, `noarch`, ...
    pub subdir: String,
    /// The channel's name or URL; credentials are dropped.
    pub channel: String,
    /// The archive's address; credentials are dropped.
    pub url: String,
    /// The archive's name in the channel, `NAME-VERSION-BUILD.conda` or `.tar.bz2`.
    pub file_name: String,
    /// The archive's SHA-256 in hex; the caller has verified it.
    pub sha256: String,
    /// The archive's MD5 in hex.
    pub md5: Option<String>,
    /// The archive's size in bytes.
    pub size_bytes: Option<u64>,
    /// What the channel says of `noarch`.
    pub noarch: Option<String>,
    /// The dependencies as the channel states them, which may differ from the archive's.
    pub depends: Vec<String>,
    /// The spec by which the definition itself asks for it.
    pub requested_spec: Option<String>,
}

/// A conda package whose metadata is read and checked, ready to be linked.
pub struct CondaPackage {
    request: CondaRequest,
    target: Target,
    archive: Archive,
    info: Info,
    record_path: PrefixPath,
    /// Where each listed path goes, in the list's order.
    targets: Vec<PrefixPath>,
    /// The paths of the scripts that kiln writes for entry points.
    points: Vec<PrefixPath>,
}

impl CondaPackage {
    /// Reads a package's metadata and checks that it is the one asked for.
    pub fn open(archive: &Path, request: CondaRequest, target: &Target) -> Result<Self, LinkError> {
        let name = request.file_name.clone();
        Self::open_unnamed(archive, request, target).map_err(|found| found.of(&name))
    }

    fn open_unnamed(path: &Path, request: CondaRequest, target: &Target) -> Result<Self, Found> {
        let (archive, metadata) = Archive::open(path, target.limits)?;
        let info = Info::read(&metadata, request.noarch.as_deref())?;
        for (field, expected, found) in [
            ("name", &request.name, &info.index.name),
            ("version", &request.version, &info.index.version),
            ("build", &request.build, &info.index.build),
        ] {
            if expected != found {
                let (expected, found) = (expected.clone(), found.clone());
                return Err(Problem::NotTheOne {
                    field,
                    expected,
                    found,
                }
                .at("info/index.json"));
            }
        }
        let python = target.python.as_ref();
        if info.noarch == Some(Noarch::Python) && python.is_none() {
            let why = "it is a noarch python package and the environment has no python";
            return Err(Problem::Unfit(why.to_owned()).into());
        }
        let targets = info
            .paths
            .iter()
            .map(|listed| installed_path(&listed.path, info.noarch, python))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(record) = targets.iter().find(|path| path.is_record()) {
            return Err(Problem::Reserved.at(record.as_str()));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = targets.iter().find(|path| !seen.insert(*path)) {
            return Err(Problem::Duplicate.at(twice.as_str()));
        }
        let record_path = record_path(&request)?;
        let points = info
            .entry_points
            .iter()
            .map(super::entry_point::EntryPoint::path)
            .collect();
        Ok(Self {
            request,
            target: target.clone(),
            archive,
            info,
            record_path,
            targets,
            points,
        })
    }

    /// Every file and symlink the package will have, with its origin, known without reading them.
    pub fn paths(&self) -> impl Iterator<Item = (&PrefixPath, Origin)> {
        let points: HashSet<&PrefixPath> = self.points.iter().collect();
        let listed = self.info.paths.iter().zip(&self.targets);
        let shipped = listed
            .filter(|(listed, _)| !listed.directory)
            .map(|(_, path)| path);
        shipped
            .filter(move |path| !points.contains(path))
            .map(|path| (path, Origin::Shipped))
            .chain(self.points.iter().map(|path| (path, Origin::EntryPoint)))
            .chain([(&self.record_path, Origin::Record)])
    }

    /// The `python_site_packages_path` of a python package that has another than the usual one.
    pub fn site_packages(&self) -> Option<&str> {
        self.info.index.python_site_packages_path.as_deref()
    }

    /// Writes the package into a sink.
    pub fn link(&self, sink: &mut dyn Sink) -> Result<Linked, LinkError> {
        self.link_unnamed(sink)
            .map_err(|found| found.of(&self.request.file_name))
    }

    fn link_unnamed(&self, sink: &mut dyn Sink) -> Result<Linked, Found> {
        let mut run = Run::new(self, sink);
        run.files()?;
        run.hard_links()?;
        run.rest()?;
        run.entry_points()?;
        let Run { linked, done, .. } = run;
        self.put_record(done, linked, sink)
    }

    fn put_record(
        &self,
        data: Vec<Option<PathData>>,
        mut linked: Linked,
        sink: &mut dyn Sink,
    ) -> Result<Linked, Found> {
        let text = self.record(data).into_json();
        linked.files += 1;
        linked.bytes += text.len() as u64;
        sink.put(Entry {
            path: &self.record_path,
            origin: Origin::Record,
            node: Node::File {
                mode: 0o644,
                mtime: self.mtime(),
                size: text.len() as u64,
                content: &mut text.as_bytes(),
            },
        })
        .map_err(|error| Problem::from_write(error).at(self.record_path.as_str()))?;
        Ok(linked)
    }

    /// The time of what kiln changes or writes itself: the package's own.
    fn mtime(&self) -> i64 {
        self.info.index.timestamp.map_or(CONSTANT_MTIME, |time| {
            // Milliseconds, in old packages seconds; conda tells them apart by the year 9999.
            let seconds = if time > 253_402_300_799.0 {
                time / 1000.0
            } else {
                time
            };
            (seconds as i64).max(CONSTANT_MTIME)
        })
    }

    fn record(&self, data: Vec<Option<PathData>>) -> OwnedRecord<'_> {
        let mut files: Vec<String> = Vec::new();
        let mut paths: Vec<PathData> = Vec::new();
        for path in data.into_iter().flatten() {
            if path.path_type != "directory" {
                files.push(path.path.clone());
            }
            paths.push(path);
        }
        if let (true, Some(Noarch::Python), Some(python)) =
            (self.target.bytecode, self.info.noarch, &self.target.python)
        {
            for compiled in missing_bytecode(&files, python) {
                files.push(compiled.clone());
                paths.push(PathData {
                    path: compiled,
                    path_type: "pyc_file",
                    ..PathData::default()
                });
            }
        }
        for path in &self.points {
            files.push(path.to_string());
            paths.push(PathData {
                path: path.to_string(),
                path_type: "unix_python_entry_point",
                ..PathData::default()
            });
        }
        OwnedRecord {
            package: self,
            files,
            paths,
        }
    }
}

/// The parts of a record that are made for it.
struct OwnedRecord<'a> {
    package: &'a CondaPackage,
    files: Vec<String>,
    paths: Vec<PathData>,
}

impl OwnedRecord<'_> {
    fn into_json(self) -> String {
        let request = &self.package.request;
        let index = &self.package.info.index;
        Record {
            arch: index.arch.as_deref(),
            build: &request.build,
            build_number: request.build_number,
            channel: &without_credentials(&request.channel),
            constrains: &index.constrains,
            depends: &request.depends,
            features: index.features.as_ref().and_then(super::info::Words::joined),
            files: self.files.iter().map(String::as_str).collect(),
            file_name: &request.file_name,
            license: index.license.as_deref(),
            license_family: index.license_family.as_deref(),
            md5: request.md5.as_deref(),
            name: &request.name,
            noarch: self.package.info.noarch.map(|noarch| match noarch {
                Noarch::Generic => "generic",
                Noarch::Python => "python",
            }),
            package_type: self.package.info.noarch.map(|noarch| match noarch {
                Noarch::Generic => "noarch_generic",
                Noarch::Python => "noarch_python",
            }),
            paths_data: PathsData {
                paths: self.paths,
                paths_version: 1,
            },
            platform: index.platform.as_deref(),
            // What conda writes for a package that nobody asked for by itself.
            requested_spec: request.requested_spec.as_deref().unwrap_or("None"),
            sha256: &request.sha256,
            size: request.size_bytes.or(Some(self.package.archive.size())),
            subdir: &request.subdir,
            timestamp: index.timestamp.map(|time| time as i64),
            track_features: index
                .track_features
                .as_ref()
                .and_then(super::info::Words::joined),
            url: &without_credentials(&request.url),
            version: &request.version,
        }
        .to_json()
    }
}

/// One linking: what has been written so far.
struct Run<'a> {
    package: &'a CondaPackage,
    sink: &'a mut dyn Sink,
    index: HashMap<&'a PrefixPath, usize>,
    points: HashSet<&'a PrefixPath>,
    /// By position in the package's list.
    done: Vec<Option<PathData>>,
    /// Paths that are another's second name, by position, with that other's path.
    links: Vec<(usize, PrefixPath, TarEntry)>,
    linked: Linked,
}

impl<'a> Run<'a> {
    fn new(package: &'a CondaPackage, sink: &'a mut dyn Sink) -> Self {
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
    fn files(&mut self) -> Result<(), Found> {
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
    fn hard_links(&mut self) -> Result<(), Found> {
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
    fn rest(&mut self) -> Result<(), Found> {
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

    fn entry_points(&mut self) -> Result<(), Found> {
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

/// Where a path goes: noarch python packages leave the libraries' place to the environment.
fn installed_path(
    path: &PrefixPath,
    noarch: Option<Noarch>,
    python: Option<&PythonTarget>,
) -> Result<PrefixPath, Found> {
    let (Some(Noarch::Python), Some(python)) = (noarch, python) else {
        return Ok(path.clone());
    };
    let text = path.as_str();
    let moved = if let Some(below) = text.strip_prefix("site-packages/") {
        python.site_packages.join(below)
    } else if let Some(below) = text.strip_prefix("python-scripts/") {
        PrefixPath::new(&format!("bin/{below}"))
    } else {
        Ok(path.clone())
    };
    moved.map_err(|error| Problem::from(error).at(text))
}

/// `conda-meta/NAME-VERSION-BUILD.json`; the parts may hold nothing that is more than a name.
fn record_path(request: &CondaRequest) -> Result<PrefixPath, Problem> {
    let stem = format!("{}-{}-{}", request.name, request.version, request.build);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+!-".contains(c);
    if !stem.chars().all(plain) {
        return Err(Problem::Metadata(format!("{stem:?} is no package's name")));
    }
    Ok(PrefixPath::new(&format!("conda-meta/{stem}.json"))?)
}

/// The compiled files that the sources will have and the package doesn't bring.
fn missing_bytecode(files: &[String], python: &PythonTarget) -> Vec<String> {
    let have: HashSet<&str> = files.iter().map(String::as_str).collect();
    let wanted = files.iter().filter_map(|file| python.bytecode_path(file));
    wanted
        .filter(|compiled| !have.contains(compiled.as_str()))
        .collect()
}
