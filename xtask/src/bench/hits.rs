//! Hits by HTTP: a thousand environments, posted in full, with the default policy of verification; once with the
//! same bytes for the same environment, once with bytes that never come again.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::ground::Ground;
use crate::process::output;

const POSTS: &str = include_str!("posts.lua");

/// Measures and prints.
pub(super) fn run(ground: &Ground, seconds: u32) -> Result<()> {
    ground.populate()?;
    let script = ground.script("posts.lua", POSTS)?;
    let (server, peer) = (ground.kiln()?, ground.peer()?);
    let bodies = ground.bodies.as_path();
    // Every environment once, so that the measured ones are hits.
    measure(&server.url, (16, 20), &script, &[bodies])?;
    println!(
        "{:<28} {:>12} {:>10} {:>10}",
        "", "requests/s", "p50 ms", "p99 ms"
    );
    let (same, fresh) = ([bodies], [bodies, Path::new("fresh")]);
    for connections in [2, 64] {
        let mut rates = Vec::new();
        for (name, url, arguments) in [
            ("parses nothing", &peer.url, &same[..]),
            ("kiln", &server.url, &same),
            ("parses nothing, fresh", &peer.url, &fresh),
            ("kiln, fresh", &server.url, &fresh),
        ] {
            let figures = measure(url, (connections, seconds), &script, arguments)?;
            let [rate, p50, p99, errors] = figures;
            ensure!(errors == 0.0, "{name}: {errors} errors");
            println!("{connections:>3} {name:<24} {rate:>12.0} {p50:>10.3} {p99:>10.3}");
            rates.push(rate);
        }
        println!("{:<28} {:>12.2}", "ratio", rates[1] / rates[0]);
        println!("{:<28} {:>12.2}", "ratio, fresh", rates[3] / rates[2]);
    }
    Ok(())
}

/// Requests a second, median and 99th percentile in milliseconds, and errors.
fn measure(
    url: &str,
    (connections, seconds): (u32, u32),
    script: &Path,
    arguments: &[&Path],
) -> Result<[f64; 4]> {
    let mut wrk = Command::new("wrk");
    let threads = connections.min(2).to_string();
    wrk.args(["-t", &threads, "-c", &connections.to_string()]);
    wrk.args(["-d", &format!("{seconds}s"), "--timeout", "30s", "-s"]);
    wrk.arg(script).arg(url).arg("--").args(arguments);
    let text = output(&mut wrk)?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("figures "))
        .context("wrk printed no figures")?;
    let figures: Vec<f64> = line
        .split(' ')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .context("wrk's figures are numbers")?;
    figures.try_into().ok().context("wrk printed four figures")
}
