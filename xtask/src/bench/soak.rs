//! A daemon under a mixed load: memory and open files stay what they are.

use anyhow::Result;

use super::ground::Ground;
use crate::packages;
use crate::process::run as run_command;

const SOAK: &str = include_str!("soak.py");

/// Runs the load and prints what the process holds meanwhile.
pub(super) fn run(ground: &Ground, minutes: u32, rate: u32) -> Result<()> {
    ground.populate()?;
    let server = ground.kiln()?;
    let mut soak = packages::python();
    soak.args(["-c", SOAK, &server.url]);
    soak.arg(format!("{}/base/debian:12", ground.registry_host));
    soak.arg(&ground.bodies).arg(server.proc());
    soak.args([minutes.to_string(), rate.to_string()]);
    run_command(&mut soak)
}
