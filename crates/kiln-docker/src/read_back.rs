//! What is really installed, read from the new layers, and compared with the lock.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use kiln_api::{Failure, FailureClass};
use kiln_lock::Lock;
use serde::Deserialize;

/// Metadata files are smaller; a larger one is not read.
const METADATA_LIMIT_BYTES: u64 = 16 << 20;

/// Packages that layers install under a prefix, by the file that tells of them: a later layer replaces
/// or removes what an earlier one wrote.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Installed {
    conda: BTreeMap<String, (String, String, String)>,
    distributions: BTreeMap<String, (String, String)>,
}

#[derive(Deserialize)]
struct CondaMeta {
    name: String,
    version: String,
    build: String,
}

impl Installed {
    /// Takes in one layer; `prefix` is absolute.
    pub(crate) fn read_layer(&mut self, tar: &Path, prefix: &str) -> io::Result<()> {
        let prefix = format!("{}/", prefix.trim_matches('/'));
        let mut archive = tar::Archive::new(fs_err::File::open(tar)?);
        for entry in archive.entries_with_seek()? {
            let mut entry = entry?;
            let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let Some(path) = path.trim_start_matches("./").strip_prefix(prefix.as_str()) else {
                continue;
            };
            self.whiteout(path);
            let conda = path
                .strip_prefix("conda-meta/")
                .and_then(|name| name.strip_suffix(".json"))
                .is_some_and(|name| !name.contains('/') && !name.starts_with(".wh."));
            let metadata =
                path.ends_with(".dist-info/METADATA") && path.contains("/site-packages/");
            if !entry.header().entry_type().is_file() || !(conda || metadata) {
                continue;
            }
            let mut bytes = Vec::new();
            (&mut entry)
                .take(METADATA_LIMIT_BYTES)
                .read_to_end(&mut bytes)?;
            if conda {
                if let Ok(meta) = serde_json::from_slice::<CondaMeta>(&bytes) {
                    self.conda
                        .insert(path.to_owned(), (meta.name, meta.version, meta.build));
                }
            } else if let Some(found) = name_and_version(&bytes) {
                self.distributions.insert(path.to_owned(), found);
            }
        }
        Ok(())
    }

    /// OCI image specification, "Layer Filesystem Changeset", "Whiteouts".
    fn whiteout(&mut self, path: &str) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let Some(removed) = name.strip_prefix(".wh.") else {
            return;
        };
        let gone = match removed {
            ".wh..opq" => format!("{folder}/"),
            _ if folder.is_empty() => removed.to_owned(),
            _ => format!("{folder}/{removed}"),
        };
        let under = format!("{}/", gone.trim_end_matches('/'));
        let stays = |path: &String| *path != gone && !path.starts_with(&under);
        self.conda.retain(|path, _| stays(path));
        self.distributions.retain(|path, _| stays(path));
    }

    /// What differs from the lock; nothing where all is as locked.
    pub(crate) fn differences(&self, lock: &Lock) -> Vec<String> {
        let mut differences = Vec::new();
        for package in &lock.conda {
            let found = self.conda.values().find(|(name, ..)| *name == package.name);
            match found {
                None => differences.push(format!("the conda package {} is missing", package.name)),
                Some((_, version, build))
                    if (version, build) != (&package.version, &package.build) =>
                {
                    differences.push(format!(
                        "the conda package {} is {version} {build}, not {} {}",
                        package.name, package.version, package.build
                    ));
                }
                Some(_) => {}
            }
        }
        for (name, version, _) in self.conda.values() {
            if !lock.conda.iter().any(|package| package.name == *name) {
                differences.push(format!(
                    "the conda package {name} {version} is not in the lock"
                ));
            }
        }
        for wheel in &lock.pip {
            let mut found = self
                .distributions
                .values()
                .filter(|(name, _)| *name == wheel.name);
            match (found.next(), found.next()) {
                (None, _) => differences.push(format!("the wheel {} is missing", wheel.name)),
                (Some(_), Some(_)) => {
                    differences.push(format!("{} is installed twice", wheel.name));
                }
                (Some((_, version)), None) if !same_version(version, &wheel.version) => {
                    differences.push(format!(
                        "{} is {version}, not {}",
                        wheel.name, wheel.version
                    ));
                }
                _ => {}
            }
        }
        if lock.conda.is_empty() {
            for (name, version) in self.distributions.values() {
                if !lock.pip.iter().any(|wheel| wheel.name == *name) {
                    differences.push(format!("{name} {version} is not in the lock"));
                }
            }
        }
        differences
    }
}

/// The failure of an image whose content is not that of its lock.
pub(crate) fn failure(differences: &[String]) -> Failure {
    Failure::new(
        FailureClass::Integrity,
        format!(
            "the image is not what was locked: {}",
            differences.join("; ")
        ),
        "check what the base image or its configuration does to conda and pip, then ask again",
    )
}

/// PEP 440 normal forms are in the lock; METADATA may spell a version otherwise.
fn same_version(found: &str, locked: &str) -> bool {
    let plain = |text: &str| {
        text.trim()
            .trim_start_matches('v')
            .to_lowercase()
            .replace(['-', '_'], ".")
    };
    found == locked || plain(found) == plain(locked)
}

/// `Name` and `Version` of the core metadata, the name as PEP 503 normalises it.
fn name_and_version(bytes: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let header = |field: &str| {
        text.lines()
            .take_while(|line| !line.is_empty())
            .find_map(|line| {
                line.strip_prefix(field)?
                    .strip_prefix(':')
                    .map(|v| v.trim().to_owned())
            })
    };
    let mut name = String::new();
    for c in header("Name")?.to_lowercase().chars() {
        let c = if "-_.".contains(c) { '-' } else { c };
        if c != '-' || !name.ends_with('-') {
            name.push(c);
        }
    }
    Some((name, header("Version")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(folder: &Path, name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let path = folder.join(name);
        let mut tar = tar::Builder::new(std::fs::File::create(&path).unwrap());
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        tar.finish().unwrap();
        path
    }

    #[test]
    fn the_last_word_of_the_layers_counts() {
        let folder = tempfile::tempdir().unwrap();
        let conda = r#"{"name":"numpy","version":"1.0","build":"0"}"#;
        let one = layer(
            folder.path(),
            "one",
            &[
                ("opt/kiln/env/conda-meta/numpy-1.0-0.json", conda),
                (
                    "opt/kiln/env/lib/python3.11/site-packages/Foo_Bar-1.dist-info/METADATA",
                    "Name: Foo_Bar\nVersion: 1\n\nx",
                ),
                ("opt/other/conda-meta/x-1-0.json", conda),
            ],
        );
        let two = layer(
            folder.path(),
            "two",
            &[("opt/kiln/env/conda-meta/.wh.numpy-1.0-0.json", "")],
        );
        let mut installed = Installed::default();
        installed.read_layer(&one, "/opt/kiln/env").unwrap();
        assert_eq!(installed.conda.len(), 1);
        assert_eq!(
            installed.distributions.values().next().unwrap(),
            &("foo-bar".into(), "1".into())
        );
        installed.read_layer(&two, "/opt/kiln/env").unwrap();
        assert!(installed.conda.is_empty());
        assert_eq!(installed.distributions.len(), 1);
    }
}
