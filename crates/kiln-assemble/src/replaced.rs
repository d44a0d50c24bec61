//! What pip removes of conda's packages before it installs its own: computed, since there is no folder to look at.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::path::Path;

use kiln_install::InstallError;
use kiln_layer::PackagePaths;
use kiln_link::{
    CondaPackage, CondaRequest, Entry, Found, Node, Origin, PrefixPath, Sink, Target, Tree,
    normalised_name, uninstall,
};

use crate::error::AssembleError;

/// Longest metadata file that is kept in memory.
const MAX_METADATA_BYTES: u64 = 64 << 20;

/// What pip removes.
#[derive(Default)]
pub(crate) struct Replaced {
    pub(crate) paths: HashSet<PrefixPath>,
    /// Sentences for people.
    pub(crate) notes: Vec<String>,
}

/// The paths of conda packages that wheels of these names replace.
pub(crate) fn replaced<'a>(
    conda: impl Iterator<Item = (&'a PackagePaths, &'a Path, &'a CondaRequest)>,
    wheels: &[&str],
    target: &Target,
) -> Result<Replaced, AssembleError> {
    let mut all = Replaced::default();
    let Some(python) = &target.python else {
        return Ok(all);
    };
    let names: HashSet<String> = wheels.iter().map(|name| normalised_name(name)).collect();
    let mut tree = PlannedTree::default();
    let mut found = false;
    for (paths, path, request) in conda {
        for (at, _) in &paths.paths {
            tree.paths.insert(at.as_str().to_owned());
        }
        let directories: BTreeSet<PrefixPath> = paths
            .paths
            .iter()
            .filter_map(|(at, _)| distribution(at, &python.site_packages))
            .filter(|(_, name)| names.contains(name))
            .map(|(directory, _)| directory)
            .collect();
        if !directories.is_empty() {
            found = true;
            let mut metadata = Metadata {
                directories,
                contents: &mut tree.contents,
            };
            CondaPackage::open(path, request.clone(), target)?.link(&mut metadata)?;
        }
    }
    if !found {
        return Ok(all);
    }
    for wheel in wheels {
        let paths = uninstall(&mut tree, python, wheel).map_err(InstallError::Uninstall)?;
        if !paths.is_empty() {
            all.notes
                .push(format!("the wheel {wheel} replaces conda's"));
        }
        all.paths.extend(paths);
    }
    Ok(all)
}

/// The metadata directory that a path is in, and the distribution's name.
fn distribution(path: &PrefixPath, site_packages: &PrefixPath) -> Option<(PrefixPath, String)> {
    let below = path
        .as_str()
        .strip_prefix(site_packages.as_str())?
        .strip_prefix('/')?;
    let directory = below.split('/').next()?;
    let stem = directory
        .strip_suffix(".dist-info")
        .or_else(|| directory.strip_suffix(".egg-info"))?;
    let name = normalised_name(stem.split('-').next().unwrap_or(stem));
    Some((site_packages.join(directory).ok()?, name))
}

/// Keeps the contents of metadata directories, and of the package's record.
struct Metadata<'a> {
    directories: BTreeSet<PrefixPath>,
    contents: &'a mut BTreeMap<String, Vec<u8>>,
}

impl Sink for Metadata<'_> {
    fn put(&mut self, entry: Entry<'_>) -> io::Result<()> {
        let path = entry.path;
        let wanted = entry.origin == Origin::Record
            || self
                .directories
                .iter()
                .any(|directory| path == directory || path.parent() == Some(directory.as_str()));
        let Node::File { size, content, .. } = entry.node else {
            return Ok(());
        };
        if wanted && size <= MAX_METADATA_BYTES {
            let mut bytes = Vec::new();
            content.take(MAX_METADATA_BYTES).read_to_end(&mut bytes)?;
            self.contents.insert(path.as_str().to_owned(), bytes);
        }
        Ok(())
    }
}

/// An environment that was not written: all its paths, and what was read of it.
#[derive(Default)]
struct PlannedTree {
    paths: BTreeSet<String>,
    contents: BTreeMap<String, Vec<u8>>,
}

impl PlannedTree {
    /// What is below a directory.
    fn below<'a>(&'a self, directory: &str) -> impl Iterator<Item = &'a str> {
        let start = format!("{directory}/");
        let from = self
            .paths
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded));
        let start = start.clone();
        let found: Vec<&str> = from
            .map_while(|path| path.strip_prefix(start.as_str()))
            .collect();
        found.into_iter()
    }
}

impl Tree for PlannedTree {
    fn find(&self, path: &PrefixPath) -> io::Result<Option<Found>> {
        if self.paths.contains(path.as_str()) {
            return Ok(Some(Found::File));
        }
        let is_directory = self.below(path.as_str()).next().is_some();
        Ok(is_directory.then_some(Found::Directory))
    }

    fn read(&self, path: &PrefixPath, _limit: u64) -> io::Result<Option<Vec<u8>>> {
        if !self.paths.contains(path.as_str()) {
            return Ok(None);
        }
        Ok(self.contents.get(path.as_str()).cloned())
    }

    fn list(&self, path: &PrefixPath) -> io::Result<Vec<String>> {
        let names: BTreeSet<&str> = self
            .below(path.as_str())
            .filter_map(|below| below.split('/').next())
            .collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn remove(&mut self, path: &PrefixPath) -> io::Result<bool> {
        Ok(self.paths.remove(path.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use kiln_link::{PythonHome, PythonTarget};

    use super::*;

    const SITE: &str = "lib/python3.11/site-packages";

    fn tree(files: &[(&str, &str)]) -> PlannedTree {
        let mut tree = PlannedTree::default();
        for (path, content) in files {
            tree.paths.insert((*path).to_owned());
            tree.contents
                .insert((*path).to_owned(), content.as_bytes().to_vec());
        }
        tree
    }

    #[test]
    fn a_planned_tree_is_listed_and_read_as_a_folder_is() {
        let tree = tree(&[("a/b/c", "x"), ("a/b.d/e", ""), ("a/f", "")]);
        let path = |text: &str| PrefixPath::new(text).unwrap();
        assert_eq!(tree.list(&path("a")).unwrap(), ["b", "b.d", "f"]);
        assert_eq!(tree.list(&path("a/f")).unwrap(), Vec::<String>::new());
        assert_eq!(tree.find(&path("a/b")).unwrap(), Some(Found::Directory));
        assert_eq!(tree.find(&path("a/b/c")).unwrap(), Some(Found::File));
        assert_eq!(tree.find(&path("a/b/x")).unwrap(), None);
        assert_eq!(tree.read(&path("a/b/c"), 9).unwrap(), Some(b"x".to_vec()));
        assert_eq!(tree.read(&path("a/b"), 9).unwrap(), None);
    }

    #[test]
    fn a_distribution_goes_with_its_scripts_and_bytecode() {
        let site = |path: &str| format!("{SITE}/{path}");
        let files = [
            (site("foo/a.py"), ""),
            (site("foo/__pycache__/a.cpython-311.pyc"), ""),
            (
                site("foo-1.0.dist-info/RECORD"),
                "foo/a.py,,\n../../../bin/tool,,\n",
            ),
            (site("foo-1.0.dist-info/METADATA"), ""),
            (site("bar/a.py"), ""),
            ("bin/tool".to_owned(), ""),
        ];
        let files: Vec<(&str, &str)> = files
            .iter()
            .map(|(path, content)| (path.as_str(), *content))
            .collect();
        let mut tree = tree(&files);
        let python = PythonTarget::new(11, PythonHome::Conda, "x86_64");
        assert_eq!(uninstall(&mut tree, &python, "foo").unwrap().len(), 5);
        assert_eq!(tree.paths, BTreeSet::from([site("bar/a.py")]));
    }
}
