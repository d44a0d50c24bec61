//! Benchmarks of whole processes, as ratios against a peer in the same run.

mod hits;

use anyhow::Result;
use clap::Subcommand;

use crate::paths::Paths;

/// Benchmarks.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// Hits by HTTP, beside a handler that parses nothing.
    Hits {
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 10)]
        seconds: u32,
    },
}

/// Runs a benchmark.
pub(crate) fn run(paths: &Paths, bench: &Bench) -> Result<()> {
    match bench {
        Bench::Hits { seconds } => hits::run(paths, *seconds),
    }
}
