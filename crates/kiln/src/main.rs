//! The kiln daemon and command line.

mod callback_secret;
mod cli;
mod client;
mod commands;
mod compose;
mod config;
mod data_lock;
mod error;
mod input;
mod progress;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
