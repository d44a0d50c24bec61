//! Hits by HTTP: a thousand environments, posted in full, with the default policy of verification; once with the
//! same bytes for the same environment, once with bytes that never come again.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::packages;
use crate::paths::Paths;
use crate::process::{output, run as run_command, stage};
use crate::test_run::target_folder;
use crate::testbed::{self, Bed, Extent};

const POPULATE: &str = include_str!("populate.py");
const POSTS: &str = include_str!("posts.lua");
const ENVIRONMENTS: &str = "1000";

/// A server that is killed when dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    /// Starts a program and waits for the line that tells its address.
    fn start(command: &mut Command, before: &str) -> Result<Self> {
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = process.stdout.take().context("the server has an output")?;
        for line in BufReader::new(output).lines() {
            if let Some(url) = line?.strip_prefix(before) {
                let url = url.to_owned();
                return Ok(Self { process, url });
            }
        }
        anyhow::bail!("the server told no address")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Measures and prints.
pub(crate) fn run(paths: &Paths, seconds: u32) -> Result<()> {
    packages::ensure(packages::LOAD)?;
    let bed = stage("test bed up", || testbed::up(paths, Extent::Quickstart))?;
    let result = with_bed(paths, &bed, seconds);
    let down = stage("test bed down", || bed.down());
    result.and(down)
}

fn with_bed(paths: &Paths, bed: &Bed, seconds: u32) -> Result<()> {
    let programs = stage("release build", || build(paths))?;
    let (kiln, peer) = programs;
    let folder = paths.folder("bench")?;
    let data = folder.join("data");
    if data.exists() {
        fs_err::remove_dir_all(&data)?;
    }
    let registry = format!("{}/bench-{}", bed.registry_host(), std::process::id());
    stage("images", || {
        let mut populate = packages::python();
        populate.args(["-c", POPULATE]).arg(&kiln).arg(&registry);
        run_command(populate.arg(&folder).arg(ENVIRONMENTS))
    })?;
    let script = folder.join("posts.lua");
    fs_err::write(&script, POSTS)?;
    let bodies = folder.join("bodies");
    let mut serve = Command::new(kiln);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]);
    serve.arg(&data).args(["--registry", &registry]);
    let server = Server::start(&mut serve, "kiln listens on ")?;
    let peer = Server::start(&mut Command::new(peer), "listens on ")?;
    // Every environment once, so that the measured ones are hits.
    measure(&server.url, (16, 20), &script, &[&bodies])?;
    println!(
        "{:<28} {:>12} {:>10} {:>10}",
        "", "requests/s", "p50 ms", "p99 ms"
    );
    let (same, fresh) = ([bodies.as_path()], [bodies.as_path(), Path::new("fresh")]);
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

fn build(paths: &Paths) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    for arguments in [
        &["--package", "kiln"][..],
        &["--package", "kiln-server", "--example", "parses_nothing"],
    ] {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&paths.root);
        run_command(
            cargo
                .args(["build", "--release", "--locked"])
                .args(arguments),
        )?;
    }
    let release = target_folder(&paths.root)?.join("release");
    Ok((
        release.join("kiln"),
        release.join("examples/parses_nothing"),
    ))
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
