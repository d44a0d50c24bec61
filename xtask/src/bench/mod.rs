//! Benchmarks of whole processes: ratios against a peer in the same run, and how a process keeps over time.

mod ground;
mod hits;
mod soak;
mod start;

use anyhow::Result;
use clap::Subcommand;

use crate::packages;
use crate::paths::Paths;
use crate::process::stage;
use crate::testbed::{self, Extent};
use ground::Ground;

/// Benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Hits by HTTP, beside a handler that parses nothing.
    Hits {
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 10)]
        seconds: u32,
    },
    /// Memory and open files of a daemon under a mixed load.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10)]
        minutes: u32,
        /// Requests a second.
        #[arg(long, default_value_t = 50)]
        rate: u32,
    },
    /// From the start of a daemon that knows 100,000 builds until it is ready, beside one that knows none.
    Start,
}

/// Runs a benchmark.
pub(crate) fn run(paths: &Paths, bench: &Bench) -> Result<()> {
    packages::ensure(packages::LOAD)?;
    let bed = stage("test bed up", || testbed::up(paths, Extent::Quickstart))?;
    let result = Ground::prepare(paths, &bed).and_then(|ground| match bench {
        Bench::Hits { seconds } => hits::run(&ground, *seconds),
        Bench::Soak { minutes, rate } => soak::run(&ground, *minutes, *rate),
        Bench::Start => start::run(&ground),
    });
    let down = stage("test bed down", || bed.down());
    result.and(down)
}
