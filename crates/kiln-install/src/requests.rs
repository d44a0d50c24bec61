//! What a lock says to the linker.

use std::path::Path;

use kiln_link::{
    CondaPackage, CondaRequest, PrefixPath, PythonHome, PythonTarget, Target, WheelRequest,
};
use kiln_lock::{Lock, PythonSource, Wheel};

use crate::error::InstallError;
use crate::order::{Node, conda_order};

/// The conda package that an archive has to hold.
pub fn conda_request(package: &kiln_lock::CondaPackage) -> CondaRequest {
    CondaRequest {
        name: package.name.clone(),
        version: package.version.clone(),
        build: package.build.clone(),
        build_number: package.build_number,
        subdir: package.subdir.clone(),
        channel: package.channel.clone(),
        url: package.url.clone(),
        file_name: package.file_name.clone(),
        sha256: package.sha256.to_hex(),
        md5: package.md5.clone(),
        size_bytes: package.size_bytes,
        noarch: package.noarch.clone(),
        depends: package.depends.clone(),
        requested_spec: None,
    }
}

/// The wheel that an archive has to be.
pub fn wheel_request(wheel: &Wheel) -> WheelRequest {
    WheelRequest {
        name: wheel.name.clone(),
        version: wheel.version.clone(),
        file_name: wheel.file_name.clone(),
        requested: wheel.requested,
    }
}

/// Positions of the lock's conda packages in the order in which conda links them.
pub fn link_order(lock: &Lock) -> Vec<usize> {
    let nodes: Vec<Node<'_>> = lock
        .conda
        .iter()
        .map(|package| Node {
            name: &package.name,
            depends: &package.depends,
        })
        .collect();
    conda_order(&nodes)
}

/// The position of the python among the lock's conda packages.
pub fn python_package(lock: &Lock) -> Option<usize> {
    lock.conda
        .iter()
        .position(|package| package.name == "python")
}

/// Looks into the lock's python package: one of a channel may keep its libraries at another place than usual
/// (CEP 17).
pub fn find_site_packages(
    lock: &Lock,
    archive: &Path,
    target: &mut Target,
) -> Result<(), InstallError> {
    let Some(at) = python_package(lock) else {
        return Ok(());
    };
    let package = CondaPackage::open(archive, conda_request(&lock.conda[at]), target)
        .map_err(InstallError::Link)?;
    if let (Some(path), Some(python)) = (package.site_packages(), &mut target.python) {
        python.site_packages = PrefixPath::new(path).map_err(|_| InstallError::Lock {
            reason: format!("the python package keeps its libraries at {path:?}"),
        })?;
    }
    Ok(())
}

/// The python that the lock's packages are linked for; none where it has none.
pub fn python_target(lock: &Lock) -> Result<Option<PythonTarget>, InstallError> {
    let Some(python) = &lock.python else {
        return Ok(None);
    };
    let minor = python.minor();
    let number = minor
        .strip_prefix("3.")
        .and_then(|minor| minor.parse().ok());
    let number = number.ok_or_else(|| InstallError::Lock {
        reason: format!("python {} is none of version 3", python.version),
    })?;
    let machine = match lock.platform.as_str() {
        "linux/amd64" => "x86_64",
        "linux/arm64" | "linux/arm64/v8" => "aarch64",
        "linux/ppc64le" => "ppc64le",
        "linux/s390x" => "s390x",
        other => {
            return Err(InstallError::Lock {
                reason: format!("the platform {other} is not known"),
            });
        }
    };
    let home = match python.source {
        PythonSource::Channel => PythonHome::Conda,
        PythonSource::Base { .. } => PythonHome::Venv,
    };
    Ok(Some(PythonTarget::new(number, home, machine)))
}
