//! Chooses one wheel of each package that uv locked.

use std::path::Path;

use kiln_lock::Wheel;
use kiln_oci::Digest;
use url::Url;

use super::installed::stand_in_name;
use super::private::Private;
use super::pylock::{File, Package, PyLock};
use super::requirements::{Root, clean};
use super::resolve::{PypiRequest, PypiSolution};
use super::{Installed, PypiError};
use crate::tags::{TagRanks, WheelName};

/// Chooses one wheel of each locked package.
pub(super) fn select(
    request: &PypiRequest<'_>,
    roots: &[Root],
    stand_ins: &Path,
    lock: PyLock,
) -> Result<PypiSolution, PypiError> {
    let ranks = &request.target.ranks;
    let hashed = request.pip.require_hashes || roots.iter().any(|root| root.hashed);
    let stand_ins = Url::from_directory_path(stand_ins).ok();
    let mut solution = PypiSolution::default();
    for package in lock.packages {
        let root = roots.iter().find(|root| root.name == package.name);
        let installed = request
            .installed
            .iter()
            .find(|known| known.name == package.name);
        if let Some(installed) =
            installed.filter(|known| is_stand_in(&package, known, stand_ins.as_ref()))
        {
            if root.is_some() {
                solution.notes.push(format!(
                    "pip: {} {} is there already, from the conda package {}",
                    installed.name, installed.version, installed.conda_package
                ));
            }
            continue;
        }
        let wheel = wheel(&package, root, ranks, hashed)?;
        if let Some(installed) = installed {
            solution.notes.push(format!(
                "pip: {} {} takes the place of {} from the conda package {}",
                wheel.name, wheel.version, installed.version, installed.conda_package
            ));
        }
        solution.wheels.push(wheel);
    }
    solution.wheels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(solution)
}

/// Whether the version that was chosen is the one conda installs.
fn is_stand_in(package: &Package, installed: &Installed, folder: Option<&Url>) -> bool {
    let Some(name) = stand_in_name(installed) else {
        return false;
    };
    let below = |address: &str| {
        folder.is_some_and(|folder| address.starts_with(folder.as_str()))
            || address.ends_with(&format!("conda/{name}"))
    };
    package.wheels.iter().any(|file| {
        file.url
            .as_deref()
            .is_some_and(|url| url.starts_with("file:") && below(url))
            || file.path.as_deref().is_some_and(below)
    })
}

fn wheel(
    package: &Package,
    root: Option<&Root>,
    ranks: &TagRanks,
    hashed: bool,
) -> Result<Wheel, PypiError> {
    let name = package.name.clone();
    let version = package.version.clone().unwrap_or_default();
    let files: Vec<&File> = package.wheels.iter().chain(&package.archive).collect();
    if let Some(private) = root.and_then(|root| root.private.as_ref()) {
        return private_wheel(package, private, ranks);
    }
    if files.is_empty() || package.vcs.is_some() || package.directory.is_some() {
        return Err(PypiError::OnlySource {
            message: format!("{name} {version} has no wheel"),
            packages: vec![name],
        });
    }
    if hashed && root.is_none_or(|root| !root.hashed) {
        return Err(PypiError::HashMissing { name });
    }
    let mut candidates = Vec::new();
    for file in files {
        let Some(file_name) = file.file_name() else {
            continue;
        };
        let foreign = || PypiError::Foreign {
            file_name: file_name
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect(),
            name: name.clone(),
            version: version.clone(),
        };
        let parsed = WheelName::parse(&file_name).ok_or_else(foreign)?;
        if !is_of(&parsed, &name, &version) {
            return Err(foreign());
        }
        if let Some(rank) = ranks.rank(&parsed) {
            candidates.push((rank, std::cmp::Reverse(parsed.build), file_name, file));
        }
    }
    candidates.sort_by(|a, b| (a.0, &a.1, &a.2).cmp(&(b.0, &b.1, &b.2)));
    let allowed = root.map(|root| root.sha256.as_slice()).unwrap_or_default();
    let states_hashes = root.is_some_and(|root| root.hashed);
    let fits = |file: &File| {
        !states_hashes
            || file
                .hashes
                .sha256
                .as_ref()
                .is_none_or(|hash| allowed.contains(hash))
    };
    if candidates.is_empty() {
        return Err(PypiError::OnlySource {
            message: format!("{name} {version} has no wheel for this platform and python"),
            packages: vec![name],
        });
    }
    let Some((.., file_name, file)) = candidates.iter().find(|(.., file)| fits(file)) else {
        return Err(PypiError::Hash { name, version });
    };
    let no_hash = || PypiError::NoHash {
        file_name: file_name.clone(),
    };
    let hex = match (&file.hashes.sha256, allowed) {
        (Some(hex), _) => hex,
        (None, [only]) => only,
        (None, _) => return Err(no_hash()),
    };
    let url = file
        .url
        .as_deref()
        .and_then(|url| Url::parse(url).ok())
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .ok_or_else(|| PypiError::Foreign {
            file_name: file_name.clone(),
            name: name.clone(),
            version: version.clone(),
        })?;
    Ok(Wheel {
        sha256: Digest::from_hex(hex).map_err(|_| no_hash())?,
        file_name: file_name.clone(),
        url: lockable(&url).to_string(),
        size_bytes: file.size,
        requested: root.is_some(),
        built_from: None,
        name,
        version,
    })
}

/// A wheel that the workspace keeps itself: the lock has the address by which the definition names it.
fn private_wheel(
    package: &Package,
    private: &Private,
    ranks: &TagRanks,
) -> Result<Wheel, PypiError> {
    let wheel = &private.wheel;
    let parsed = WheelName::parse(&wheel.file_name);
    let Some(parsed) = parsed.filter(|parsed| ranks.rank(parsed).is_some()) else {
        return Err(PypiError::OnlySource {
            message: format!(
                "the private wheel {} is not for this platform and python",
                wheel.file_name
            ),
            packages: vec![package.name.clone()],
        });
    };
    Ok(Wheel {
        name: package.name.clone(),
        version: package.version.clone().unwrap_or(parsed.version),
        file_name: wheel.file_name.clone(),
        url: private.address.clone(),
        sha256: wheel.sha256,
        size_bytes: Some(wheel.size_bytes),
        requested: true,
        built_from: None,
    })
}

/// Whether a wheel's file name names the package and version.
fn is_of(wheel: &WheelName, name: &str, version: &str) -> bool {
    let normal: String = wheel.distribution.to_lowercase().replace(['_', '.'], "-");
    let same_version = match (
        wheel.version.parse::<pep440_rs::Version>(),
        version.parse::<pep440_rs::Version>(),
    ) {
        // uv knows the version of a direct address from the file alone.
        (Ok(_), Err(_)) => version.is_empty(),
        (one, other) => one.ok() == other.ok(),
    };
    normal == name && same_version
}

/// The address as a lock may hold it: no userinfo, no fragment, no signature in the query.
fn lockable(url: &Url) -> Url {
    const SIGNATURES: [&str; 6] = [
        "sig",
        "signature",
        "x-amz-signature",
        "x-goog-signature",
        "token",
        "access_token",
    ];
    let signed = url
        .query_pairs()
        .any(|(name, _)| SIGNATURES.contains(&name.to_lowercase().as_str()));
    if signed {
        return clean(url);
    }
    let query = url.query().map(str::to_owned);
    let mut url = clean(url);
    url.set_query(query.as_deref());
    url
}
