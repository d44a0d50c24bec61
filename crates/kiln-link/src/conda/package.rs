//! One conda package: what it is, where its paths go, its record.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use super::archive::Archive;
use super::info::{Info, Noarch, Words};
use super::record::{PathData, PathsData, Record, without_credentials};
use super::run::Run;
use crate::entry::{CONSTANT_MTIME, Entry, Node, Origin, Sink};
use crate::error::{Found, LinkError, Problem};
use crate::linked::Linked;
use crate::path::PrefixPath;
use crate::target::{PythonTarget, Target};

/// The package that is expected in an archive, as the lock names it.
#[derive(Debug, Clone, Serialize)]
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
    pub(super) request: CondaRequest,
    pub(super) target: Target,
    pub(super) archive: Archive,
    pub(super) info: Info,
    record_path: PrefixPath,
    /// Where each listed path goes, in the list's order.
    pub(super) targets: Vec<PrefixPath>,
    /// The paths of the scripts that kiln writes for entry points.
    pub(super) points: Vec<PrefixPath>,
}

impl CondaPackage {
    /// Reads a package's metadata and checks that it is the one asked for.
    pub fn open(archive: &Path, request: CondaRequest, target: &Target) -> Result<Self, LinkError> {
        let name = request.file_name.clone();
        Self::open_unnamed(archive, request, target).map_err(|found| found.of(&name))
    }

    fn open_unnamed(path: &Path, request: CondaRequest, target: &Target) -> Result<Self, Found> {
        let (archive, metadata) = Archive::open(path, &request.file_name, target.limits)?;
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

    /// The directories that it names itself, which exist even when empty.
    pub fn directories(&self) -> impl Iterator<Item = &PrefixPath> {
        let listed = self.info.paths.iter().zip(&self.targets);
        listed
            .filter(|(listed, _)| listed.directory)
            .map(|(_, path)| path)
    }

    /// Whether the environment's python decides where its files go.
    pub fn is_noarch_python(&self) -> bool {
        self.info.noarch == Some(Noarch::Python)
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
    pub(super) fn mtime(&self) -> i64 {
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
            features: index.features.as_ref().and_then(Words::joined),
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
            track_features: index.track_features.as_ref().and_then(Words::joined),
            url: &without_credentials(&request.url),
            version: &request.version,
        }
        .to_json()
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
