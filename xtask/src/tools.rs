//! Development tools. Those that are Rust programs are taken as wheels from the Python package index: a download, not a compilation.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::ValueEnum;

use crate::packages;
use crate::paths::Paths;
use crate::process;

/// A tool that the tests or the checks use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Tool {
    /// The test runner.
    Nextest,
    /// The checker of dependencies.
    Deny,
    /// The message broker, which the tests of the queue start and stop for themselves.
    NatsServer,
}

/// A tool that is a subcommand of cargo.
#[derive(Debug, Clone, Copy)]
struct CargoTool {
    subcommand: &'static str,
    version: &'static str,
}

impl Tool {
    /// None for what comes from the distribution.
    const fn of_cargo(self) -> Option<CargoTool> {
        let (subcommand, version) = match self {
            Self::Nextest => ("nextest", "0.9.148"),
            Self::Deny => ("deny", "0.20.2"),
            Self::NatsServer => return None,
        };
        Some(CargoTool {
            subcommand,
            version,
        })
    }
}

/// Installs the tools and prints the folders to put on PATH, one a line.
pub(crate) fn run(paths: &Paths, tools: &[Tool]) -> Result<()> {
    for tool in tools {
        if let Some(folder) = ensure(paths, *tool)? {
            println!("{}", folder.display());
        }
    }
    Ok(())
}

/// Installs a tool unless it is there; returns the folder of its program, `None` when cargo finds it already.
pub(crate) fn ensure(paths: &Paths, tool: Tool) -> Result<Option<PathBuf>> {
    match tool.of_cargo() {
        Some(tool) => ensure_of_cargo(paths, tool),
        None => nats_server().map(|program| program.parent().map(Path::to_owned)),
    }
}

/// The broker's program, installed with the distribution's package manager where it is missing.
pub(crate) fn nats_server() -> Result<PathBuf> {
    packages::ensure(packages::BROKER)?;
    Ok(packages::found(packages::NATS_SERVER))
}

fn ensure_of_cargo(paths: &Paths, tool: CargoTool) -> Result<Option<PathBuf>> {
    let name = tool.subcommand;
    if process::succeeds(Command::new("cargo").args([name, "--version"])) {
        return Ok(None);
    }
    let folder = paths
        .folder("tools")?
        .join(format!("{name}-{}", tool.version));
    let programs = folder.join("bin");
    if !programs.join(format!("cargo-{name}")).exists() && from_wheel(tool, &folder).is_err() {
        let mut install = Command::new("cargo");
        install.args(["install", "--locked", "--root"]).arg(&folder);
        process::run(install.arg(format!("cargo-{name}@{}", tool.version)))?;
    }
    Ok(Some(programs))
}

fn from_wheel(tool: CargoTool, folder: &PathBuf) -> Result<()> {
    packages::ensure(packages::TOOLS)?;
    let requirement = format!(
        "astral-dev-toolchain-cargo-{}=={}",
        tool.subcommand, tool.version
    );
    let mut pip = packages::python();
    pip.env("PIP_ROOT_USER_ACTION", "ignore"); // nothing goes into the system's packages
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
    ]);
    process::run(pip.arg(folder).arg(requirement))
}

/// PATH with the folders of the tools first.
pub(crate) fn search_path(folders: impl IntoIterator<Item = PathBuf>) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(
        folders.into_iter().chain(std::env::split_paths(&old)),
    )?)
}
