//! What the benchmarks stand on: release builds, a data folder of their own, and a registry that holds the images of a
//! thousand environments, with the requests for them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::packages;
use crate::paths::Paths;
use crate::process::{run, stage};
use crate::test_run::target_folder;
use crate::testbed::Bed;

const POPULATE: &str = include_str!("populate.py");
const ENVIRONMENTS: &str = "1000";

/// See the module.
pub(super) struct Ground {
    /// The folder of the benchmarks.
    pub(super) folder: PathBuf,
    /// A file with a body of `POST /v1/builds` per line.
    pub(super) bodies: PathBuf,
    kiln: PathBuf,
    peer: PathBuf,
    /// `HOST:PORT` of the registry.
    pub(super) registry_host: String,
    registry: String,
}

impl Ground {
    /// Builds the programs; a fresh data folder and a prefix of the registry that nothing else uses.
    pub(super) fn prepare(paths: &Paths, bed: &Bed) -> Result<Self> {
        let (kiln, peer) = stage("release build", || build(paths))?;
        let folder = paths.folder("bench")?;
        let registry = format!("{}/bench-{}", bed.registry_host(), std::process::id());
        let data = folder.join("data");
        if data.exists() {
            fs_err::remove_dir_all(&data)?;
        }
        Ok(Self {
            bodies: folder.join("bodies"),
            folder,
            kiln,
            peer,
            registry_host: bed.registry_host(),
            registry,
        })
    }

    /// Fills the registry, and writes the requests.
    pub(super) fn populate(&self) -> Result<()> {
        stage("images", || {
            let mut populate = packages::python();
            populate.args(["-c", POPULATE]).arg(&self.kiln);
            populate.arg(&self.registry).arg(&self.folder);
            run(populate.arg(ENVIRONMENTS))
        })
    }

    /// Starts a kiln with default settings.
    pub(super) fn kiln(&self) -> Result<Server> {
        Server::start(&mut self.serve("data"), "kiln listens on ")
    }

    /// The command that starts a kiln on a data folder of this name.
    pub(super) fn serve(&self, data: &str) -> Command {
        let mut serve = Command::new(&self.kiln);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
        serve.arg(self.folder.join(data));
        serve.args(["--registry", &self.registry]);
        serve
    }

    /// Starts the handler that parses nothing.
    pub(super) fn peer(&self) -> Result<Server> {
        Server::start(&mut Command::new(&self.peer), "listens on ")
    }

    /// Writes a script into the folder.
    pub(super) fn script(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        fs_err::write(&path, text)?;
        Ok(path)
    }
}

fn build(paths: &Paths) -> Result<(PathBuf, PathBuf)> {
    for arguments in [
        &["--package", "kiln"][..],
        &["--package", "kiln-server", "--example", "parses_nothing"],
    ] {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root);
        run(cargo
            .args(["build", "--release", "--locked"])
            .args(arguments))?;
    }
    let release = target_folder(&paths.root)?.join("release");
    Ok((
        release.join("kiln"),
        release.join("examples/parses_nothing"),
    ))
}

/// A server that is killed when dropped.
pub(super) struct Server {
    process: Child,
    /// `http://HOST:PORT`.
    pub(super) url: String,
}

impl Server {
    /// Starts a program and waits for the line that tells its address.
    fn start(command: &mut Command, before: &str) -> Result<Self> {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().context("the server has an output")?;
        for line in BufReader::new(output).lines() {
            if let Some(url) = line?.strip_prefix(before) {
                let url = url.to_owned();
                return Ok(Self { process, url });
            }
        }
        anyhow::bail!("the server told no address")
    }

    /// Its folder in `/proc`.
    pub(super) fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
