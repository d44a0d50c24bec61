//! One module a command.

pub(crate) mod build;
pub(crate) mod doctor;
pub(crate) mod eject;
pub(crate) mod env;
pub(crate) mod explain;
pub(crate) mod gc;
pub(crate) mod hash;
pub(crate) mod hooks;
pub(crate) mod lock;
pub(crate) mod model;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod wheel;

use std::io::Write as _;

use crate::error::CliError;

/// Writes a line to standard output.
fn print(line: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(|error| CliError::kiln("standard output can't be written", &error))
}
