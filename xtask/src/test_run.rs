//! The tests: everything they need is brought up, built and, afterwards, taken down.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::paths::Paths;
use crate::process::{output, run as run_command, stage};
use crate::sdk;
use crate::testbed::{self, Extent};
use crate::tools::{self, Tool};

/// Where the tests are run for: CI sets this, and gets the runner's `ci` profile.
const CI: &str = "CI";

/// Runs every test.
pub(crate) fn run(paths: &Paths, runner: &[String]) -> Result<()> {
    let nextest = stage("test runner", || tools::ensure(paths, Tool::Nextest))?;
    let bed = stage("test bed up", || testbed::up(paths, Extent::Full))?;
    let result = with_bed(paths, &bed, nextest, runner);
    let down = stage("test bed down", || bed.down());
    result.and(down)
}

fn with_bed(
    paths: &Paths,
    bed: &testbed::Bed,
    nextest: Option<PathBuf>,
    runner: &[String],
) -> Result<()> {
    let broker = stage("message broker", tools::nats_server)?;
    let sdks = stage("Azure ML SDKs", || sdk::ensure(paths))?;
    let binaries = stage("build kiln", || Binaries::build(paths))?;
    stage("base image Dockerfiles", || verify_base_images(paths, bed))?;
    let path = tools::search_path(nextest)?;
    let environment = |command: &mut Command| {
        command.current_dir(&paths.root).env("PATH", &path);
        command.env("KILN_TESTBED", &paths.cache);
        command.env("KILN_TEST_BINARY", &binaries.kiln);
        command.env("KILN_INSTALL_PATH", &binaries.install);
        command.env("KILN_TEST_REGISTRY", bed.registry_host());
        command.env("KILN_TEST_CHANNELS", bed.channels());
        command.env("KILN_TEST_NATS_SERVER", &broker);
        command.envs(sdks.iter().map(|(variable, folder)| (variable, folder)));
    };
    // Arguments choose what is run, so there are no doc tests with them.
    let everything = runner.is_empty();
    let doc = if everything {
        let mut doc = Command::new("cargo");
        environment(doc.args(["test", "--quiet", "--workspace", "--doc", "--locked"]));
        stage("doc tests", || run_command(&mut doc))
    } else {
        Ok(())
    };
    // Last, so that the runner's summary closes the output.
    let mut tests = Command::new("cargo");
    environment(tests.args(["nextest", "run", "--locked"]));
    if everything {
        tests.arg("--workspace");
    }
    if std::env::var_os(CI).is_some() {
        tests.args(["--profile", "ci"]);
    }
    let tests = stage("tests", || run_command(tests.args(runner)));
    doc.and(tests)
}

/// The Dockerfiles of the base images that can't be pulled here, built on stand-ins.
fn verify_base_images(paths: &Paths, bed: &testbed::Bed) -> Result<()> {
    let mut verify = Command::new(paths.root.join("base-images/verify.sh"));
    verify
        .env("DOCKER", packages::docker().get_program())
        .env("DOCKER_BUILDKIT", "1");
    let registry = bed.registry_host();
    verify.arg("--stand-in");
    verify.args([
        format!("{registry}/base/debian:12"),
        format!("{registry}/base/cuda:12.4"),
    ]);
    run_command(&mut verify)
}

/// The programs that tests and quickstart start.
#[derive(Debug)]
pub(crate) struct Binaries {
    /// The daemon and command line.
    pub(crate) kiln: PathBuf,
    /// The static installer that runs inside build containers.
    pub(crate) install: PathBuf,
}

impl Binaries {
    /// Builds both. The installer is static, since a base image may have any C library or an older one.
    pub(crate) fn build(paths: &Paths) -> Result<Self> {
        const TARGET: &str = "x86_64-unknown-linux-gnu";
        let mut kiln = Command::new("cargo");
        kiln.current_dir(&paths.root)
            .args(["build", "--locked", "--package", "kiln"]);
        run_command(&mut kiln)?;
        let mut install = Command::new("cargo");
        install
            .current_dir(&paths.root)
            .args(["build", "--locked", "--release"]);
        install.args(["--package", "kiln-install", "--target", TARGET]);
        install.env("RUSTFLAGS", "-C target-feature=+crt-static");
        // The installer is small: linking it twice as long makes it no faster.
        install.env("CARGO_PROFILE_RELEASE_LTO", "off");
        run_command(&mut install)?;
        let target = target_folder(&paths.root)?;
        Ok(Self {
            kiln: existing(target.join("debug/kiln"))?,
            install: existing(target.join(TARGET).join("release/kiln-install"))?,
        })
    }
}

fn existing(file: PathBuf) -> Result<PathBuf> {
    if !file.exists() {
        bail!("the build left no {}", file.display());
    }
    Ok(file)
}

pub(crate) fn target_folder(root: &Path) -> Result<PathBuf> {
    let mut metadata = Command::new("cargo");
    metadata.current_dir(root).args([
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--offline",
    ]);
    let metadata: serde_json::Value = serde_json::from_str(&output(&mut metadata)?)?;
    let folder = metadata["target_directory"]
        .as_str()
        .context("no target_directory in the metadata")?;
    Ok(PathBuf::from(folder))
}
