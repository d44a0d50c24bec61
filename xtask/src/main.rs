//! Tasks of the kiln repository: the test bed, base images, the quickstart, the tests.
//!
//! Run as `cargo xtask TASK`. What a task needs and the machine lacks is installed with the distribution's package manager;
//! what it makes is kept in a cache folder outside the checkout ([`paths::Paths`]) and made again only when its inputs change.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool that tells what it does"
)]

mod base_image;
mod bench;
mod faults;
mod http;
mod packages;
mod paths;
mod process;
mod quickstart;
mod sdk;
mod stamp;
mod test_run;
mod testbed;

mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::paths::Paths;

/// Tasks of the kiln repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Builds the example environment into an image, runs it, and builds it again from the cache.
    Quickstart,
    /// Runs every test: brings the test bed up, builds what the tests start, takes down what was started.
    Test {
        /// Arguments for the test runner.
        #[arg(last = true)]
        runner: Vec<String>,
    },
    /// Docker, a registry, base images, conda channels and a package index for tests.
    Testbed {
        #[command(subcommand)]
        action: testbed::Action,
    },
    /// Measures whole processes beside a peer.
    Bench {
        #[command(subcommand)]
        bench: bench::Bench,
    },
    /// Kills kiln, fills its disk, lies to it, and checks what it promised: `faults --help` tells how much.
    #[command(disable_help_flag = true)]
    Faults {
        /// Arguments of the harness.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Builds a base image and puts it into a registry.
    BaseImage {
        #[command(subcommand)]
        image: base_image::Image,
    },
    /// Installs development tools where they are missing and prints the folders to put on PATH.
    Tools {
        /// The tools.
        #[arg(required = true)]
        tools: Vec<tools::Tool>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    let paths = Paths::find()?;
    match task {
        Task::Quickstart => quickstart::run(&paths),
        Task::Test { runner } => test_run::run(&paths, &runner),
        Task::Testbed { action } => testbed::run(&paths, &action),
        Task::Bench { bench } => bench::run(&paths, &bench),
        Task::Faults { arguments } => faults::run(&paths, &arguments),
        Task::BaseImage { image } => base_image::run(&paths, &image),
        Task::Tools { tools } => tools::run(&paths, &tools),
    }
}
