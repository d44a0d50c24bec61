//! How long a start takes, with much to know and with nothing.

use anyhow::Result;

use super::ground::Ground;
use crate::packages;
use crate::process::run as run_command;

const START: &str = include_str!("start.py");

/// Measures and prints.
pub(super) fn run(ground: &Ground) -> Result<()> {
    for (name, builds) in [("many", "100000"), ("empty", "0")] {
        let folder = ground.folder.join(name);
        if folder.exists() {
            fs_err::remove_dir_all(&folder)?;
        }
        let serve = ground.serve(name);
        let mut start = packages::python();
        start.args(["-c", START, builds]).arg(folder);
        start.arg(serve.get_program()).args(serve.get_args());
        run_command(&mut start)?;
    }
    Ok(())
}
