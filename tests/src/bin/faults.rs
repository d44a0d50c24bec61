//! Runs the fault scenarios and prints their figures; the exit code is 1 where a promise was broken.
#![expect(
    clippy::print_stdout,
    reason = "a command-line tool that tells what it does"
)]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use kiln_tests::faults::{Options, Scenario};

/// Injects faults into a real kiln, and checks what it promised.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask faults")]
struct Arguments {
    /// kills, failpoints, registry, disk, database, paused; all of them when none is named.
    scenarios: Vec<String>,
    /// How often everything is done, each time with the next seed.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// Where all random choices come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Builds to accept in each scenario.
    #[arg(long)]
    builds: Option<usize>,
    /// Times that the fault comes in each scenario.
    #[arg(long)]
    kills: Option<usize>,
    /// Builds that kiln runs at once.
    #[arg(long, default_value_t = 2)]
    at_once: usize,
    /// Where the record of what was accepted and kiln's own log go.
    #[arg(long, default_value_os_t = std::env::temp_dir().join("kiln-faults"))]
    record: PathBuf,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("a promise was broken");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<bool> {
    let mut chosen = Vec::new();
    for name in &arguments.scenarios {
        let Some(one) = Scenario::ALL.into_iter().find(|one| one.name() == name) else {
            let names = Scenario::ALL.map(Scenario::name).join(", ");
            bail!("there is no scenario `{name}`, but {names}");
        };
        chosen.push(one);
    }
    if chosen.is_empty() {
        chosen.extend(Scenario::ALL);
    }
    let mut holds = true;
    for round in 0..arguments.rounds {
        for scenario in &chosen {
            let (builds, kills) = scenario.usual();
            let seed = arguments.seed + round;
            let options = Options {
                seed,
                builds: arguments.builds.unwrap_or(builds),
                kills: arguments.kills.unwrap_or(kills),
                at_once: arguments.at_once,
                record: arguments.record.join(format!("seed-{seed}")),
            };
            let report = scenario.run(&options).await?;
            println!("{report}\n");
            holds &= report.holds();
        }
    }
    println!("records and logs: {}", arguments.record.display());
    Ok(holds)
}
