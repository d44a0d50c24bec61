//! The directories that a layer must name: every parent of its entries, once each.

use std::collections::BTreeSet;

use kiln_link::{CONSTANT_MTIME, PrefixPath, TargetPrefix};

use crate::header::{Kind, header};

/// A sorted set of directories, as paths of an archive: relative, without a slash at the end.
///
/// Directories have one mode and one time in every layer: what differs from layer to layer would be a change to
/// whoever compares them, and a layer that names a file but not its parents leaves these to the reader's taste
/// (Docker makes them readable for root alone).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directories(BTreeSet<String>);

impl Directories {
    /// The prefix and the directories above it.
    pub fn of_prefix(prefix: &TargetPrefix) -> Self {
        let mut found = Self::default();
        found.add(prefix.as_str().trim_start_matches('/'));
        found
    }

    /// Adds the parents of a path of the prefix.
    pub fn add_parents(&mut self, prefix: &TargetPrefix, path: &PrefixPath) {
        if let Some(parent) = path.parent() {
            self.add(&archive_path(prefix, parent));
        }
    }

    /// Adds a directory of the prefix with its parents.
    pub fn add_directory(&mut self, prefix: &TargetPrefix, path: &PrefixPath) {
        self.add(&archive_path(prefix, path.as_str()));
    }

    /// Adds a directory of the archive and its parents.
    pub fn add(&mut self, path: &str) {
        let mut path = path;
        while !path.is_empty() && !self.0.contains(path) {
            self.0.insert(path.to_owned());
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend(other.0.iter().cloned());
    }

    /// Whether a path of the archive is one of them.
    pub fn contains(&self, path: &str) -> bool {
        self.0.contains(path)
    }

    /// The paths, sorted: parents before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Their entries.
    pub(crate) fn entries(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for path in &self.0 {
            bytes.extend(header(&format!("{path}/"), Kind::Directory, CONSTANT_MTIME));
        }
        bytes
    }
}

impl FromIterator<String> for Directories {
    fn from_iter<T: IntoIterator<Item = String>>(paths: T) -> Self {
        let mut found = Self::default();
        for path in paths {
            found.add(&path);
        }
        found
    }
}

/// A path of a prefix as an archive names it.
pub(crate) fn archive_path(prefix: &TargetPrefix, path: &str) -> String {
    format!("{}/{path}", prefix.as_str().trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parent_is_there_once_and_before_what_is_in_it() {
        let prefix = TargetPrefix::new("/opt/kiln/env").unwrap();
        let mut directories = Directories::of_prefix(&prefix);
        for path in ["lib/a/b", "lib/a/c", "bin/x", "top"] {
            directories.add_parents(&prefix, &PrefixPath::new(path).unwrap());
        }
        directories.add_directory(&prefix, &PrefixPath::new("lib/a.d").unwrap());
        let paths: Vec<&str> = directories.iter().collect();
        assert_eq!(
            paths,
            [
                "opt",
                "opt/kiln",
                "opt/kiln/env",
                "opt/kiln/env/bin",
                "opt/kiln/env/lib",
                "opt/kiln/env/lib/a",
                "opt/kiln/env/lib/a.d",
            ]
        );
        assert_eq!(directories.entries().len(), 7 * 512);
    }
}
