//! Who has which path, settled before a layer is made: afterwards no two layers have a path in common, and their
//! order says nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;

use kiln_link::{Claims, Clash, Entry, Installer, Origin, Place, PrefixPath, Sink, TargetPrefix};

use crate::directories::Directories;

/// A package's paths, known before it is linked.
#[derive(Debug, Clone)]
pub struct PackagePaths {
    /// Its place in the order of the installation.
    pub place: Place,
    /// Its files and symlinks.
    pub paths: Vec<(PrefixPath, Origin)>,
    /// Directories that exist even when empty.
    pub directories: Vec<PrefixPath>,
}

/// Two packages that can't be told apart by layers: an installer would follow the link, or fail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path} is a file or link, and {below} is below it")]
pub struct PathConflict {
    /// The file or link.
    pub path: PrefixPath,
    /// What needs a directory there.
    pub below: PrefixPath,
    /// Who has the file or link.
    pub owner: Place,
    /// Who has the other.
    pub other: Place,
}

/// What each package loses.
#[derive(Debug, Default)]
pub struct Ownership {
    dropped: HashMap<Place, BTreeSet<PrefixPath>>,
    clashes: Vec<Clash>,
}

impl Ownership {
    /// Settles the owner of every path, by the rule of [`Claims`]. `replaced` is what pip removes of conda's packages
    /// before it installs.
    pub fn settle(
        packages: &[PackagePaths],
        replaced: &HashSet<PrefixPath>,
    ) -> Result<Self, PathConflict> {
        let mut claims = Claims::default();
        let gone = |package: &PackagePaths, path: &PrefixPath| {
            package.place.installer == Installer::Conda && replaced.contains(path)
        };
        for package in packages {
            for (path, origin) in &package.paths {
                if !gone(package, path) {
                    claims.claim(path, *origin, package.place);
                }
            }
        }
        let mut dropped = HashMap::new();
        for package in packages {
            let mut lost: BTreeSet<PrefixPath> = package
                .paths
                .iter()
                .filter(|(path, _)| {
                    gone(package, path) || claims.owner(path) != Some(package.place)
                })
                .map(|(path, _)| path.clone())
                .collect();
            lose_stale_bytecode(package, &mut lost);
            if !lost.is_empty() {
                dropped.insert(package.place, lost);
            }
        }
        let settled = Self {
            dropped,
            clashes: claims.clashes().to_vec(),
        };
        settled.check(packages)?;
        Ok(settled)
    }

    /// The paths of a package that others keep, or that nobody has any more.
    pub fn dropped(&self, place: Place) -> &BTreeSet<PrefixPath> {
        static NONE: BTreeSet<PrefixPath> = BTreeSet::new();
        self.dropped.get(&place).unwrap_or(&NONE)
    }

    /// The paths that several packages have.
    pub fn clashes(&self) -> &[Clash] {
        &self.clashes
    }

    /// The directories of what a package keeps.
    pub fn directories(&self, prefix: &TargetPrefix, package: &PackagePaths) -> Directories {
        let dropped = self.dropped(package.place);
        let mut directories = Directories::of_prefix(prefix);
        for (path, _) in &package.paths {
            if !dropped.contains(path) {
                directories.add_parents(prefix, path);
            }
        }
        for path in &package.directories {
            directories.add_directory(prefix, path);
        }
        directories
    }

    /// A sink that lets through what a package keeps.
    pub fn only<'a>(&'a self, place: Place, sink: &'a mut dyn Sink) -> Kept<'a> {
        Kept {
            dropped: self.dropped(place),
            sink,
        }
    }

    /// No kept file or link may stand where a directory is needed.
    fn check(&self, packages: &[PackagePaths]) -> Result<(), PathConflict> {
        let mut kept: HashMap<&str, (&PrefixPath, Place)> = HashMap::new();
        for package in packages {
            let dropped = self.dropped(package.place);
            for (path, _) in &package.paths {
                if !dropped.contains(path) {
                    kept.insert(path.as_str(), (path, package.place));
                }
            }
        }
        let conflict = |below: &PrefixPath, other: Place, at: &str| match kept.get(at) {
            Some((path, owner)) => Err(PathConflict {
                path: (*path).clone(),
                below: below.clone(),
                owner: *owner,
                other,
            }),
            None => Ok(()),
        };
        for package in packages {
            let dropped = self.dropped(package.place);
            let paths = package.paths.iter().map(|(path, _)| path);
            for path in paths.filter(|path| !dropped.contains(*path)) {
                for parent in parents(path.as_str()) {
                    conflict(path, package.place, parent)?;
                }
            }
            for path in &package.directories {
                for at in parents(path.as_str()).chain([path.as_str()]) {
                    conflict(path, package.place, at)?;
                }
            }
        }
        Ok(())
    }
}

/// The directories above a path, the nearest first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(parent, _)| parent)
}

/// A compiled form goes with its source: one that python doesn't check would be run for another's.
fn lose_stale_bytecode(package: &PackagePaths, lost: &mut BTreeSet<PrefixPath>) {
    let sources: HashSet<(Option<&str>, &str)> = lost
        .iter()
        .filter_map(|path| Some((path.parent(), path.file_name().strip_suffix(".py")?)))
        .collect();
    if sources.is_empty() {
        return;
    }
    let stale: Vec<PrefixPath> = package
        .paths
        .iter()
        .map(|(path, _)| path)
        .filter(|path| {
            source_of(path).is_some_and(|(directory, stem)| sources.contains(&(directory, stem)))
        })
        .cloned()
        .collect();
    lost.extend(stale);
}

/// The directory and stem of the source that a compiled form in `__pycache__` belongs to (PEP 3147, 488).
fn source_of(path: &PrefixPath) -> Option<(Option<&str>, &str)> {
    let cache = path.parent()?;
    let directory = match cache.rsplit_once('/') {
        Some((directory, "__pycache__")) => Some(directory),
        None if cache == "__pycache__" => None,
        _ => return None,
    };
    let name = path.file_name().strip_suffix(".pyc")?;
    let at = name.rfind(".cpython-")?;
    Some((directory, &name[..at]))
}

/// See [`Ownership::only`].
pub struct Kept<'a> {
    dropped: &'a BTreeSet<PrefixPath>,
    sink: &'a mut dyn Sink,
}

impl Sink for Kept<'_> {
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        if self.dropped.contains(entry.path) {
            return Ok(());
        }
        self.sink.put(entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn conda(order: u32) -> Place {
        Place {
            installer: Installer::Conda,
            order,
        }
    }

    const fn pip(order: u32) -> Place {
        Place {
            installer: Installer::Pip,
            order,
        }
    }

    fn path(text: &str) -> PrefixPath {
        PrefixPath::new(text).unwrap()
    }

    fn package(place: Place, paths: &[&str]) -> PackagePaths {
        PackagePaths {
            place,
            paths: paths
                .iter()
                .map(|text| (path(text), Origin::Shipped))
                .collect(),
            directories: Vec::new(),
        }
    }

    fn lost(settled: &Ownership, place: Place) -> Vec<&str> {
        settled
            .dropped(place)
            .iter()
            .map(PrefixPath::as_str)
            .collect()
    }

    #[test]
    fn the_later_package_keeps_a_path_and_what_pip_replaces_nobody_has() {
        let packages = [
            package(conda(0), &["share/a", "share/both"]),
            package(conda(1), &["share/both", "lib/x.py", "lib/old.py"]),
            package(pip(0), &["lib/x.py"]),
        ];
        let replaced = HashSet::from([path("lib/x.py"), path("lib/old.py")]);
        let settled = Ownership::settle(&packages, &replaced).unwrap();
        assert_eq!(lost(&settled, conda(0)), ["share/both"]);
        assert_eq!(lost(&settled, conda(1)), ["lib/old.py", "lib/x.py"]);
        assert!(lost(&settled, pip(0)).is_empty());
        assert_eq!(settled.clashes().len(), 1);
        let prefix = TargetPrefix::new("/p").unwrap();
        let directories = settled.directories(&prefix, &packages[1]);
        assert_eq!(directories.iter().collect::<Vec<_>>(), ["p", "p/share"]);
    }

    #[test]
    fn bytecode_goes_with_its_source() {
        let compiled = "m/__pycache__/a.cpython-311.pyc";
        let optimised = "m/__pycache__/a.cpython-311.opt-1.pyc";
        let packages = [
            package(
                conda(0),
                &[
                    "m/a.py",
                    "m/b.py",
                    compiled,
                    optimised,
                    "m/__pycache__/b.cpython-311.pyc",
                ],
            ),
            package(pip(0), &["m/a.py"]),
        ];
        let settled = Ownership::settle(&packages, &HashSet::new()).unwrap();
        assert_eq!(lost(&settled, conda(0)), [optimised, compiled, "m/a.py"]);
        assert_eq!(
            source_of(&path("__pycache__/x.cpython-311.pyc")),
            Some((None, "x"))
        );
        assert_eq!(source_of(&path("a/x.pyc")), None);
    }

    #[test]
    fn a_path_below_a_file_or_link_is_a_conflict_unless_that_is_lost() {
        let packages = [
            package(conda(0), &["lib64"]),
            package(conda(1), &["lib64/x/y"]),
        ];
        let conflict = Ownership::settle(&packages, &HashSet::new()).unwrap_err();
        assert_eq!((conflict.owner, conflict.other), (conda(0), conda(1)));
        assert_eq!(
            conflict.to_string(),
            "lib64 is a file or link, and lib64/x/y is below it"
        );
        Ownership::settle(&packages, &HashSet::from([path("lib64")])).unwrap();
        let mut directory = package(conda(2), &[]);
        directory.directories.push(path("lib64"));
        let conflict =
            Ownership::settle(&[packages[0].clone(), directory], &HashSet::new()).unwrap_err();
        assert_eq!(conflict.other, conda(2));
    }

    proptest! {
        #[test]
        fn every_path_has_one_owner_whatever_the_order(
            paths in prop::collection::vec(prop::collection::btree_set("[a-e]", 0..5), 1..5),
            seed in any::<u64>(),
        ) {
            let mut packages: Vec<PackagePaths> = (0_u32..)
                .zip(&paths)
                .map(|(n, paths)| {
                    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                    package(if n % 2 == 0 { conda(n) } else { pip(n) }, &paths)
                })
                .collect();
            let settled = Ownership::settle(&packages, &HashSet::new()).unwrap();
            let mut kept: Vec<&str> = Vec::new();
            for package in &packages {
                let dropped = settled.dropped(package.place);
                kept.extend(package.paths.iter().map(|(p, _)| p).filter(|p| !dropped.contains(*p)).map(PrefixPath::as_str));
            }
            let all: BTreeSet<&str> = paths.iter().flatten().map(String::as_str).collect();
            kept.sort_unstable();
            prop_assert_eq!(kept, all.into_iter().collect::<Vec<_>>());
            packages.sort_by_key(|package| u64::from(package.place.order).wrapping_mul(seed | 1));
            let again = Ownership::settle(&packages, &HashSet::new()).unwrap();
            prop_assert_eq!(again.dropped, settled.dropped);
        }
    }
}
