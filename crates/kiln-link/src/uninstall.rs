//! Removes a python distribution that a wheel of the same name replaces, as pip does before it
//! installs over what conda brought.

use std::io;

use serde::Deserialize;

use crate::folder::{FolderSink, Found};
use crate::path::PrefixPath;
use crate::target::PythonTarget;
use crate::wheel::{normalised, parse_csv, script_names};

/// Longest metadata file of an installed distribution.
const MAX_METADATA_BYTES: u64 = 64 << 20;

/// A distribution that can't be removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UninstallError {
    /// The folder can't be read or changed.
    #[error("removing the distribution {name} failed")]
    Io {
        /// The distribution's name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing says which files belong to it; pip refuses this too.
    #[error(
        "the distribution {directory} has no RECORD and no conda package owns it, so its files \
         are not known"
    )]
    Unknown {
        /// Its `.dist-info` or `.egg-info`.
        directory: String,
    },
}

/// An environment's files, as far as a removal looks at them.
pub trait Tree {
    /// What stands at a path.
    fn find(&self, path: &PrefixPath) -> io::Result<Option<Found>>;
    /// A regular file's content; `None` when there is none, an error when it is longer than the limit.
    fn read(&self, path: &PrefixPath, limit: u64) -> io::Result<Option<Vec<u8>>>;
    /// The names in a directory, sorted; none when it doesn't exist.
    fn list(&self, path: &PrefixPath) -> io::Result<Vec<String>>;
    /// Removes a file or symlink; says whether there was one.
    fn remove(&mut self, path: &PrefixPath) -> io::Result<bool>;
}

impl Tree for FolderSink {
    fn find(&self, path: &PrefixPath) -> io::Result<Option<Found>> {
        Self::find(self, path)
    }

    fn read(&self, path: &PrefixPath, limit: u64) -> io::Result<Option<Vec<u8>>> {
        Self::read(self, path, limit)
    }

    fn list(&self, path: &PrefixPath) -> io::Result<Vec<String>> {
        Self::list(self, path)
    }

    fn remove(&mut self, path: &PrefixPath) -> io::Result<bool> {
        Self::remove(self, path)
    }
}

/// Removes the files of the installed distribution of this name; gives the removed paths, none when
/// it isn't installed.
///
/// The files are those of its RECORD, their byte-compiled forms, the scripts of its entry points and
/// all that is left in its metadata directory. Without a RECORD they are what the owning conda
/// package has below the library directory.
pub fn uninstall(
    folder: &mut dyn Tree,
    python: &PythonTarget,
    name: &str,
) -> Result<Vec<PrefixPath>, UninstallError> {
    let io = |source| UninstallError::Io {
        name: name.to_owned(),
        source,
    };
    let wanted = normalised(name);
    let mut removed = Vec::new();
    for directory in folder.list(&python.site_packages).map_err(io)? {
        let Some(stem) = directory
            .strip_suffix(".dist-info")
            .or_else(|| directory.strip_suffix(".egg-info"))
        else {
            continue;
        };
        if normalised(stem.split('-').next().unwrap_or(stem)) != wanted {
            continue;
        }
        let Ok(info) = python.site_packages.join(&directory) else {
            continue;
        };
        let files = match record_files(folder, python, &info).map_err(io)? {
            Some(files) => files,
            None => owned_files(folder, python, &info)
                .map_err(io)?
                .ok_or(UninstallError::Unknown { directory })?,
        };
        for file in files {
            for path in with_bytecode(folder, &file).map_err(io)? {
                if folder.remove(&path).map_err(io)? {
                    removed.push(path);
                }
            }
        }
    }
    Ok(removed)
}

/// The files that the distribution's RECORD and entry points name; `None` without a RECORD.
fn record_files(
    folder: &dyn Tree,
    python: &PythonTarget,
    info: &PrefixPath,
) -> io::Result<Option<Vec<PrefixPath>>> {
    let read = |file: &str| -> io::Result<Option<Vec<u8>>> {
        let path = info.join(file).map_err(io::Error::other)?;
        match folder.read(&path, MAX_METADATA_BYTES) {
            // An egg-info may be a file.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            other => other,
        }
    };
    let Some(record) = read("RECORD")? else {
        return Ok(None);
    };
    let rows = parse_csv(&record).map_err(io::Error::other)?;
    let mut files: Vec<PrefixPath> = rows
        .iter()
        // A path out of the prefix is none of the distribution's; pip leaves it too.
        .filter_map(|row| PrefixPath::resolve(&python.site_packages, &row.path))
        .collect();
    if let Some(points) = read("entry_points.txt")? {
        let names = script_names(&points);
        files.extend(
            names
                .iter()
                .filter_map(|name| PrefixPath::new(&format!("bin/{name}")).ok()),
        );
    }
    // What stays here would look like an installed distribution, and the RECORD of a conda package
    // doesn't always name all of it.
    all_below(folder, info, &mut files)?;
    Ok(Some(files))
}

/// Every file and link below a directory.
fn all_below(
    folder: &dyn Tree,
    directory: &PrefixPath,
    files: &mut Vec<PrefixPath>,
) -> io::Result<()> {
    for name in folder.list(directory)? {
        let path = directory.join(&name).map_err(io::Error::other)?;
        match folder.find(&path)? {
            Some(Found::Directory) => all_below(folder, &path, files)?,
            Some(_) => files.push(path),
            None => {}
        }
    }
    Ok(())
}

/// What the conda package that owns a distribution has below the library directory.
fn owned_files(
    folder: &dyn Tree,
    python: &PythonTarget,
    info: &PrefixPath,
) -> io::Result<Option<Vec<PrefixPath>>> {
    #[derive(Deserialize)]
    struct Installed {
        #[serde(default)]
        files: Vec<String>,
    }
    let records = PrefixPath::new("conda-meta").expect("the path is in its shortest form");
    let below = format!("{}/", info.as_str());
    let library = format!("{}/", python.site_packages.as_str());
    for name in folder.list(&records)? {
        if name.strip_suffix(".json").is_none() {
            continue;
        }
        let path = records.join(&name).map_err(io::Error::other)?;
        let Some(bytes) = folder.read(&path, MAX_METADATA_BYTES)? else {
            continue;
        };
        let Ok(installed) = serde_json::from_slice::<Installed>(&bytes) else {
            continue;
        };
        if installed
            .files
            .iter()
            .any(|f| f.starts_with(&below) || f == info.as_str())
        {
            let files = installed
                .files
                .iter()
                .filter(|file| file.starts_with(&library));
            return Ok(Some(
                files
                    .filter_map(|file| PrefixPath::new(file).ok())
                    .collect(),
            ));
        }
    }
    Ok(None)
}

/// A file and, of a source, its byte-compiled forms.
fn with_bytecode(folder: &dyn Tree, file: &PrefixPath) -> io::Result<Vec<PrefixPath>> {
    let mut paths = vec![file.clone()];
    let (Some(stem), Some(parent)) = (file.file_name().strip_suffix(".py"), file.parent()) else {
        return Ok(paths);
    };
    let Ok(cache) = PrefixPath::new(&format!("{parent}/__pycache__")) else {
        return Ok(paths);
    };
    let start = format!("{stem}.cpython-");
    for name in folder.list(&cache)? {
        if name.starts_with(&start) && name.strip_suffix(".pyc").is_some() {
            paths.extend(cache.join(&name).ok());
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::target::PythonHome;

    const SITE: &str = "lib/python3.11/site-packages";

    fn prefix(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().expect("it has one")).expect("made");
            fs_err::write(path, text).expect("written");
        }
        folder
    }

    fn left(root: &Path) -> Vec<String> {
        let mut sink = FolderSink::open(root).expect("it is there");
        let mut found = Vec::new();
        for top in ["bin", "conda-meta", "include", "lib", "other"] {
            let top = PrefixPath::new(top).expect("safe");
            all_below(&sink, &top, &mut found).expect("readable");
        }
        sink.remove(&PrefixPath::new("none").expect("safe"))
            .expect("nothing to do");
        found.iter().map(PrefixPath::to_string).collect()
    }

    fn run(root: &Path, name: &str) -> Result<usize, UninstallError> {
        let python = PythonTarget::new(11, PythonHome::Conda, "x86_64");
        let mut sink = FolderSink::open(root).expect("it is there");
        uninstall(&mut sink, &python, name).map(|removed| removed.len())
    }

    #[test]
    fn what_record_and_entry_points_name_goes_with_its_bytecode() {
        let site = |path: &str| format!("{SITE}/{path}");
        let record = "My_Pkg/a.py,,\n../../../bin/tool,,\n../../../../outside,,\n";
        let points = "[console_scripts]\nrun = my_pkg:main\n";
        let info = "My_Pkg-1.0.dist-info";
        let folder = prefix(&[
            (&site("My_Pkg/a.py"), ""),
            (&site("My_Pkg/__pycache__/a.cpython-311.pyc"), ""),
            (&site("My_Pkg/__pycache__/a.cpython-311.opt-1.pyc"), ""),
            (&site("other/b.py"), ""),
            (&site(&format!("{info}/RECORD")), record),
            (&site(&format!("{info}/entry_points.txt")), points),
            (&site(&format!("{info}/licenses/LICENSE")), ""),
            (&site("my_pkg_more-1.0.dist-info/RECORD"), ""),
            ("bin/tool", ""),
            ("bin/run", ""),
            ("bin/stays", ""),
            ("conda-meta/my-pkg-1.0-0.json", "{}"),
        ]);
        assert_eq!(run(folder.path(), "my.pkg").expect("it is removed"), 8);
        let stays = [
            "bin/stays".to_owned(),
            "conda-meta/my-pkg-1.0-0.json".to_owned(),
            site("my_pkg_more-1.0.dist-info/RECORD"),
            site("other/b.py"),
        ];
        assert_eq!(left(folder.path()), stays);
        assert_eq!(run(folder.path(), "my-pkg").expect("it is not there"), 0);
    }

    #[test]
    fn without_a_record_the_owning_conda_package_tells() {
        let site = |path: &str| format!("{SITE}/{path}");
        let owned = format!(
            r#"{{"files": ["{SITE}/p/a.py", "{SITE}/p-1.0.dist-info/METADATA", "lib/libp.so"]}}"#
        );
        let folder = prefix(&[
            (&site("p/a.py"), ""),
            (&site("p-1.0.dist-info/METADATA"), ""),
            ("lib/libp.so", ""),
            ("conda-meta/p-1.0-0.json", &owned),
            ("conda-meta/broken.json", "{"),
        ]);
        assert_eq!(run(folder.path(), "p").expect("it is removed"), 2);
        assert_eq!(
            left(folder.path()),
            [
                "conda-meta/broken.json",
                "conda-meta/p-1.0-0.json",
                "lib/libp.so"
            ]
        );
        let folder = prefix(&[(&site("p-1.0.egg-info"), "Name: p\n")]);
        let error = run(folder.path(), "p").expect_err("nobody owns it");
        assert!(
            matches!(error, UninstallError::Unknown { directory } if directory == "p-1.0.egg-info")
        );
    }
}
