//! Facts about a base image, from its configuration and a few files of its layers.

mod layer;
mod merge;
mod os;

pub(crate) use layer::{LayerFindings, read as read_layer};
pub(crate) use merge::RootFiles;

use std::collections::BTreeMap;

use kiln_lock::{BaseFacts, CondaInstall, Interpreter};
use kiln_oci::ImageConfig;

use os::{cuda, dpkg_versions, glibc_of_library, os_release, upstream};

/// Puts the facts together from an image's configuration and what its layers hold.
pub(crate) fn facts(config: &ImageConfig, files: &RootFiles) -> BaseFacts {
    let env: BTreeMap<String, String> = config
        .config
        .env_pairs()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let release = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| files.content(path))
        .map(os_release)
        .unwrap_or_default();
    let packages = dpkg(files);
    let facts = BaseFacts {
        os_id: release.id,
        os_version: release.version_id,
        glibc: glibc(files, &packages),
        cuda: cuda(&env),
        pythons: pythons(files, &packages, &env),
        conda: None,
        shell: files.has("bin/sh"),
        bash: files.has("bin/bash"),
        user: config.config.user.clone(),
        env,
    };
    BaseFacts {
        conda: conda(files, &facts),
        ..facts
    }
}

/// Versions of installed Debian packages, by name.
fn dpkg(files: &RootFiles) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for content in files.contents_below("var/lib/dpkg/") {
        versions.extend(dpkg_versions(content));
    }
    versions
}

fn glibc(files: &RootFiles, packages: &BTreeMap<String, String>) -> Option<String> {
    packages
        .get("libc6")
        .and_then(|version| upstream(version, 2))
        .or_else(|| files.named("libc.so.6").find_map(glibc_of_library))
        .or_else(|| {
            files.paths().find_map(|path| {
                let name = path.rsplit('/').next()?;
                let version = name.strip_prefix("libc-")?.strip_suffix(".so")?;
                upstream(version, 2)
            })
        })
}

/// Interpreters in the system's own places, newest first.
fn pythons(
    files: &RootFiles,
    packages: &BTreeMap<String, String>,
    env: &BTreeMap<String, String>,
) -> Vec<Interpreter> {
    let mut found: Vec<(u32, Interpreter)> = Vec::new();
    for folder in ["usr/local", "usr"] {
        let minors: Vec<String> = files
            .paths()
            .filter_map(|path| path.strip_prefix(folder)?.strip_prefix("/bin/"))
            .filter_map(layer::python_minor)
            .map(str::to_owned)
            .collect();
        for minor in minors {
            let module = |lib: &str| files.has(&format!("{lib}/python{minor}/venv/__init__.py"));
            let has_venv = module(&format!("{folder}/lib"));
            let version = if folder == "usr" {
                packages
                    .get(&format!("python{minor}-minimal"))
                    .or_else(|| packages.get(&format!("python{minor}")))
                    .and_then(|version| upstream(version, 3))
            } else {
                // The official python images say it, and have no package of their own python.
                env.get("PYTHON_VERSION")
                    .and_then(|version| upstream(version, 3))
            };
            let version = version
                .filter(|version| version.starts_with(&format!("{minor}.")))
                .unwrap_or_else(|| minor.clone());
            let order = minor.trim_start_matches("3.").parse().unwrap_or(0);
            found.push((
                order,
                Interpreter {
                    path: format!("/{folder}/bin/python{minor}"),
                    version,
                    has_venv,
                },
            ));
        }
    }
    // A stable sort: of equal versions the one in /usr/local comes first on every usual PATH.
    found.sort_by_key(|(order, _)| std::cmp::Reverse(*order));
    found
        .into_iter()
        .map(|(_, interpreter)| interpreter)
        .collect()
}

/// The first `conda` on the image's `PATH`.
fn conda(files: &RootFiles, facts: &BaseFacts) -> Option<CondaInstall> {
    let root = facts.path().find_map(|folder| {
        let folder = folder.trim_end_matches('/');
        let root = folder
            .strip_suffix("/bin")
            .or_else(|| folder.strip_suffix("/condabin"))?;
        let here = files.has(format!("{folder}/conda").trim_start_matches('/'));
        (here && !matches!(root, "" | "/usr" | "/usr/local")).then(|| root.to_owned())
    })?;
    let prefix = format!("{}/conda-meta/conda-", root.trim_start_matches('/'));
    let version = files.paths().find_map(|path| {
        let rest = path.strip_prefix(&prefix)?.strip_suffix(".json")?;
        // `24.7.1-py311_0`; other packages are called `conda-libmamba-solver-24.7.0-...`.
        let version = rest.split('-').next()?;
        version
            .starts_with(|c: char| c.is_ascii_digit())
            .then(|| version.to_owned())
    });
    Some(CondaInstall { root, version })
}

#[cfg(test)]
mod tests;
