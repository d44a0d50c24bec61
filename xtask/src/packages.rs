//! Distribution packages that the tasks need.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::process;

/// The interpreter that runs the scripts: the distribution's, whatever else is on PATH. It leaves no bytecode in the checkout.
pub(crate) fn python() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A file that shows a package is installed, and the package.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need(&'static str, &'static str);

/// What starting Docker and the registry needs.
pub(crate) const SERVICES: &[Need] = &[
    Need("/usr/sbin/dockerd", "docker.io"),
    Need("/usr/sbin/iptables", "iptables"),
    Need("/usr/bin/docker-registry", "docker-registry"),
];

/// What mounting the control groups needs.
pub(crate) const CGROUPS: &[Need] = &[Need("/usr/bin/cgroupfs-mount", "cgroupfs-mount")];

/// What building images, channels and the index needs.
pub(crate) const ARTEFACTS: &[Need] = &[
    Need("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    Need("/usr/bin/python3", "python3"),
    Need("/usr/lib/python3/dist-packages/pip", "python3-pip"),
    Need("/usr/bin/mmdebstrap", "mmdebstrap"),
    Need(
        "/usr/share/keyrings/debian-archive-keyring.gpg",
        "debian-archive-keyring",
    ),
    Need("/usr/bin/curl", "curl"),
    Need("/usr/bin/skopeo", "skopeo"),
    Need("/usr/bin/umoci", "umoci"),
    Need("/usr/bin/containerd", "containerd"),
    Need("/usr/bin/zstd", "zstd"),
    Need("/usr/bin/patchelf", "patchelf"),
];

/// The message broker that tests start for themselves.
pub(crate) const NATS_SERVER: &str = "/usr/sbin/nats-server";

/// What benchmarks need to make load.
pub(crate) const LOAD: &[Need] = &[Need("/usr/bin/wrk", "wrk")];

/// What tests of the queue need.
pub(crate) const BROKER: &[Need] = &[Need(NATS_SERVER, "nats-server")];

/// What installing development tools from wheels needs.
pub(crate) const TOOLS: &[Need] = &[
    Need("/usr/bin/python3", "python3"),
    Need("/usr/lib/python3/dist-packages/pip", "python3-pip"),
];

/// The Docker command line: the distribution's where it is, since another one on PATH may want plugins.
pub(crate) fn docker() -> Command {
    let distribution = Path::new("/usr/bin/docker");
    let mut command = if distribution.exists() {
        Command::new(distribution)
    } else {
        Command::new("docker")
    };
    command.env("DOCKER_BUILDKIT", "1");
    command
}

/// Installs the packages whose file is missing.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> = needs
        .iter()
        .filter(|need| !exists(need.0))
        .map(|need| need.1)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!(
            "install these with your package manager: {}",
            missing.join(" ")
        );
    }
    process::stage(&format!("install {}", missing.join(" ")), || {
        process::run(apt().args(["update", "-qq"]))?;
        process::run(
            apt()
                .args(["install", "-y", "-qq", "--no-install-recommends"])
                .args(&missing),
        )
    })
}

fn exists(file: &str) -> bool {
    found(file).exists()
}

/// Where a file of a package is: programs of `sbin` may be in `bin` where the two are one.
pub(crate) fn found(file: &str) -> PathBuf {
    let merged = PathBuf::from(file.replace("/sbin/", "/bin/"));
    if !Path::new(file).exists() && merged.exists() {
        return merged;
    }
    PathBuf::from(file)
}

/// `apt-get` as root, without questions and without starting services.
fn apt() -> Command {
    let root = process::output(Command::new("id").arg("-u")).is_ok_and(|id| id == "0");
    let mut command = Command::new(if root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get"]);
    command
}
