//! The kiln daemon and command line.

mod callback_secret;
mod cli;
mod client;
mod commands;
mod compose;
mod conda_prefix;
mod config;
mod context_folder;
mod data_lock;
mod env_text;
mod error;
mod folder_tar;
mod input;
mod own_server;
mod progress;
mod run_folder;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
