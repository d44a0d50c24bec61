//! Faults on purpose: a real kiln between a real registry and a real container engine is killed, starved and lied to.

use std::process::Command;

use anyhow::Result;

use crate::paths::Paths;
use crate::process::{run as run_command, stage};
use crate::test_run::{Binaries, target_folder};
use crate::testbed::{self, Bed, Extent};

/// Runs the scenarios; the arguments are the harness's own.
pub(crate) fn run(paths: &Paths, arguments: &[String]) -> Result<()> {
    let bed = stage("test bed up", || testbed::up(paths, Extent::Quickstart))?;
    let result = with_bed(paths, &bed, arguments);
    let down = stage("test bed down", || bed.down());
    result.and(down)
}

fn with_bed(paths: &Paths, bed: &Bed, arguments: &[String]) -> Result<()> {
    // Not a release build: that has no failpoints.
    let binaries = stage("build kiln", || Binaries::build(paths))?;
    let mut harness = Command::new("cargo");
    harness.current_dir(&paths.root).args(["build", "--locked"]);
    harness.args(["--package", "kiln-tests", "--bin", "faults"]);
    stage("build the harness", || run_command(&mut harness))?;
    let mut faults = Command::new(target_folder(&paths.root)?.join("debug/faults"));
    faults.args(arguments);
    faults.env("KILN_TESTBED", &paths.cache);
    faults.env("KILN_TEST_BINARY", &binaries.kiln);
    faults.env("KILN_INSTALL_PATH", &binaries.install);
    faults.env("KILN_TEST_REGISTRY", bed.registry_host());
    faults.env("KILN_TEST_CHANNELS", bed.channels());
    stage("faults", || run_command(&mut faults))
}
