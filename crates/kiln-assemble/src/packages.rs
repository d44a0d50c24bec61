//! The packages of a lock: opened, the owner of every path settled, each with the key of its layer.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use kiln_install::{InstallError, in_parallel, requests};
use kiln_layer::{
    Compressors, Directories, LayerKey, Ownership, PackageLayer, PackagePaths, PackageWriter,
    PathConflict, SmallEntry,
};
use kiln_link::{
    CondaPackage, CondaRequest, Installer, Limits, Linked, Origin, Place, PrefixPath, Sink, Target,
    TargetPrefix, WheelPackage, WheelRequest,
};
use kiln_lock::Lock;
use kiln_oci::Digest;

use crate::archive::verify;
use crate::error::{AssembleError, Obstacle};
use crate::replaced::replaced;
use crate::venv;

/// The environment's prefix in every image: constant, so that layers are shared.
pub const PREFIX: &str = kiln_dockerfile::KILN_PREFIX;

/// What an archive has to hold.
pub(crate) enum Request {
    Conda(Box<CondaRequest>),
    Wheel(WheelRequest),
}

/// One package.
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its archive.
    pub archive: Digest,
    /// The archive's size.
    pub archive_bytes: u64,
    /// The key of its layer.
    pub key: LayerKey,
    pub(crate) path: PathBuf,
    pub(crate) request: Request,
    pub(crate) paths: PackagePaths,
    needs_python: bool,
    directories: Directories,
}

/// The packages of a lock.
pub struct Packages {
    list: Vec<Package>,
    target: Target,
    ownership: Ownership,
    /// What the environment has beside its packages, by path of the archive.
    environment: BTreeMap<String, SmallEntry>,
    notes: Vec<String>,
}

impl Packages {
    /// Opens a lock's packages; `archive` says where an archive lies. It blocks.
    ///
    /// # Errors
    /// Also when layers alone can't be what the packages ask for: [`AssembleError::Obstacle`].
    pub fn open(
        lock: &Lock,
        archive: impl Fn(&Digest) -> Option<PathBuf>,
    ) -> Result<Self, AssembleError> {
        let find = |digest: &Digest, file: &str| {
            archive(digest).ok_or_else(|| AssembleError::Missing {
                file: file.to_owned(),
            })
        };
        let mut target = target(lock)?;
        if let Some(at) = requests::python_package(lock) {
            let package = &lock.conda[at];
            let path = find(&package.sha256, &package.file_name)?;
            requests::find_site_packages(lock, &path, &mut target)?;
        }
        let mut found = Vec::new();
        // The venv is made before anything is installed into it.
        let orders = 1..;
        for (order, at) in orders.clone().zip(requests::link_order(lock)) {
            let package = &lock.conda[at];
            let request = Request::Conda(Box::new(requests::conda_request(package)));
            let place = Place {
                installer: Installer::Conda,
                order,
            };
            let path = find(&package.sha256, &package.file_name)?;
            found.push((place, package.name.clone(), package.sha256, path, request));
        }
        for (order, wheel) in orders.zip(&lock.pip) {
            let request = Request::Wheel(requests::wheel_request(wheel));
            let place = Place {
                installer: Installer::Pip,
                order,
            };
            let path = find(&wheel.sha256, &wheel.file_name)?;
            found.push((place, wheel.name.clone(), wheel.sha256, path, request));
        }
        let opened = in_parallel(&found, |(place, _, _, path, request)| {
            open(*place, path, request, &target)
        })?;
        let venv = venv::entries(lock, &target);
        let mut all: Vec<PackagePaths> = opened.iter().map(|(paths, _)| paths.clone()).collect();
        all.extend(venv.as_ref().map(venv_paths));
        let wheels: Vec<&str> = lock.pip.iter().map(|wheel| wheel.name.as_str()).collect();
        let parts: Vec<_> = found.iter().zip(&opened).collect();
        let conda =
            parts
                .iter()
                .filter_map(|((_, _, _, path, request), (paths, _))| match request {
                    Request::Conda(request) => Some((paths, path.as_path(), request.as_ref())),
                    Request::Wheel(_) => None,
                });
        let removed = replaced(conda, &wheels, &target)?;
        let notes = removed.notes;
        let ownership = Ownership::settle(&all, &removed.paths)
            .map_err(|conflict| conflict_of(&conflict, &found))?;
        let environment = venv.map_or_else(BTreeMap::new, |venv| kept(venv, &ownership, &target));
        let mut list = Vec::with_capacity(found.len());
        for ((_, name, archive, path, request), (paths, needs_python)) in
            found.into_iter().zip(opened)
        {
            let dropped = ownership.dropped(paths.place);
            let key = match &request {
                Request::Conda(request) => LayerKey::conda(request, &target, needs_python, dropped),
                Request::Wheel(request) => LayerKey::wheel(request, &archive, &target, dropped),
            };
            let size =
                fs_err::metadata(&path).map_err(AssembleError::io("looking at an archive"))?;
            list.push(Package {
                name,
                archive,
                archive_bytes: size.len(),
                key,
                path,
                request,
                directories: ownership.directories(&target.prefix, &paths),
                paths,
                needs_python,
            });
        }
        Ok(Self {
            list,
            target,
            ownership,
            environment,
            notes,
        })
    }

    /// The packages: conda's in the order in which it links them, then the wheels.
    pub fn list(&self) -> &[Package] {
        &self.list
    }

    /// What the environment has beside its packages.
    pub(crate) fn environment(&self) -> &BTreeMap<String, SmallEntry> {
        &self.environment
    }

    /// The paths that several packages have: path, who keeps it, who loses it.
    pub fn clashes(&self) -> Vec<(String, String, String)> {
        let name = |place: Place| {
            let package = self
                .list
                .iter()
                .find(|package| package.paths.place == place);
            package.map_or_else(|| "the venv".to_owned(), |package| package.name.clone())
        };
        let clashes = self.ownership.clashes().iter();
        clashes
            .map(|clash| {
                (
                    clash.path.to_string(),
                    name(clash.winner),
                    name(clash.loser),
                )
            })
            .collect()
    }

    /// Sentences for people.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Links a package into a layer of its own. It blocks; memory doesn't depend on the package's size.
    pub fn write<W: Write>(
        &self,
        at: usize,
        out: W,
        compressors: &Compressors,
    ) -> Result<(W, PackageLayer, Linked), AssembleError> {
        let package = &self.list[at];
        verify(&package.path, package.file_name(), &package.archive)?;
        let mut writer = PackageWriter::begin(
            out,
            compressors,
            &self.target.prefix,
            package.directories.clone(),
        )
        .map_err(AssembleError::io("writing a layer"))?;
        let mut sink = self.ownership.only(package.paths.place, &mut writer);
        let linked = link(&package.request, &package.path, &self.target, &mut sink)?;
        let (out, layer) = writer
            .finish()
            .map_err(AssembleError::io("writing a layer"))?;
        Ok((out, layer, linked))
    }
}

impl Package {
    fn file_name(&self) -> &str {
        match &self.request {
            Request::Conda(request) => &request.file_name,
            Request::Wheel(request) => &request.file_name,
        }
    }

    /// Whether its layer differs from python to python.
    pub fn needs_python(&self) -> bool {
        self.needs_python
    }
}

fn target(lock: &Lock) -> Result<Target, AssembleError> {
    Ok(Target {
        prefix: TargetPrefix::new(PREFIX).map_err(InstallError::Prefix)?,
        python: requests::python_target(lock)?,
        limits: Limits::default(),
        bytecode: false,
    })
}

/// A package's paths, and whether python decides on them.
fn open(
    place: Place,
    path: &Path,
    request: &Request,
    target: &Target,
) -> Result<(PackagePaths, bool), AssembleError> {
    match request {
        Request::Conda(request) => {
            let name = &request.name;
            let package = CondaPackage::open(path, request.as_ref().clone(), target)?;
            let script = format!("bin/.{name}-post-link.sh");
            let paths: Vec<(PrefixPath, Origin)> = package
                .paths()
                .map(|(path, origin)| (path.clone(), origin))
                .collect();
            if paths.iter().any(|(path, _)| path.as_str() == script) {
                let package = name.clone();
                return Err(AssembleError::Obstacle(Obstacle::Script { package }));
            }
            let directories = package.directories().cloned().collect();
            let needs_python = package.is_noarch_python();
            Ok((
                PackagePaths {
                    place,
                    paths,
                    directories,
                },
                needs_python,
            ))
        }
        Request::Wheel(request) => {
            let package = WheelPackage::open(path, request.clone(), target)?;
            let paths = package.paths().collect();
            let directories = Vec::new();
            Ok((
                PackagePaths {
                    place,
                    paths,
                    directories,
                },
                true,
            ))
        }
    }
}

/// Links a package into a sink.
pub(crate) fn link(
    request: &Request,
    path: &Path,
    target: &Target,
    sink: &mut dyn Sink,
) -> Result<Linked, AssembleError> {
    Ok(match request {
        Request::Conda(request) => {
            CondaPackage::open(path, request.as_ref().clone(), target)?.link(sink)?
        }
        Request::Wheel(request) => WheelPackage::open(path, request.clone(), target)?.link(sink)?,
    })
}

const VENV: Place = Place {
    installer: Installer::Conda,
    order: 0,
};

fn venv_paths(entries: &venv::Entries) -> PackagePaths {
    let (mut paths, mut directories) = (Vec::new(), Vec::new());
    for (path, entry) in entries {
        match entry {
            SmallEntry::Directory => directories.push(path.clone()),
            _ => paths.push((path.clone(), Origin::Shipped)),
        }
    }
    PackagePaths {
        place: VENV,
        paths,
        directories,
    }
}

fn kept(
    entries: venv::Entries,
    ownership: &Ownership,
    target: &Target,
) -> BTreeMap<String, SmallEntry> {
    let dropped: HashSet<&PrefixPath> = ownership.dropped(VENV).iter().collect();
    let prefix = target.prefix.as_str().trim_start_matches('/');
    entries
        .into_iter()
        .filter(|(path, _)| !dropped.contains(path))
        .map(|(path, entry)| (format!("{prefix}/{path}"), entry))
        .collect()
}

type Found = (Place, String, Digest, PathBuf, Request);

fn conflict_of(conflict: &PathConflict, found: &[Found]) -> AssembleError {
    let name = |place: Place| {
        let package = found.iter().find(|(other, ..)| *other == place);
        package.map_or_else(|| "the venv".to_owned(), |(_, name, ..)| name.clone())
    };
    AssembleError::Obstacle(Obstacle::Conflict {
        file: (name(conflict.owner), conflict.path.to_string()),
        below: (name(conflict.other), conflict.below.to_string()),
    })
}
