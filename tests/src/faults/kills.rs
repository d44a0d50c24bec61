//! `SIGKILL` at random times, and a start at once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::Rng as _;

use super::Options;
use super::bed::Bed;
use super::report::Report;
use crate::Signal;

/// Accepted builds that are not over, at most.
const BACKLOG: usize = 16;
/// A kill comes at a random moment of this time.
const SPREAD: Duration = Duration::from_millis(900);
/// What kills wait for must come within this time.
const PATIENCE: Duration = Duration::from_mins(5);

/// Accepts builds and kills meanwhile; kills are spread over the builds.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut random = options.random();
    let mut bed = Bed::new(options, "kills", |kiln| kiln).await?;
    let began = Instant::now();
    let mut next = 0;
    for kill in 0..options.kills {
        bed.start(None)?;
        // One in five comes early, into the recovery; the others when their share of the builds is done.
        let early = random.random_bool(0.2);
        let share = options.builds * kill / options.kills;
        let limit = Instant::now() + PATIENCE;
        while !early && bed.oracle.over() < share {
            step(&mut bed, &mut next, options.builds).await?;
            ensure!(Instant::now() < limit, "the builds do not go on");
        }
        let server = bed.server().signals();
        let dead = Cell::new(false);
        let when = SPREAD.mul_f64(random.random());
        let killing = async {
            tokio::time::sleep(when).await;
            let killed = server.send(Signal::KILL);
            dead.set(true);
            killed
        };
        let working = async {
            while !dead.get() {
                step(&mut bed, &mut next, options.builds).await?;
            }
            Ok(())
        };
        tokio::try_join!(killing, working)?;
        bed.ended("at a random time")?;
    }
    bed.start(None)?;
    while next < options.builds {
        step(&mut bed, &mut next, options.builds).await?;
    }
    let title = format!(
        "kills: {} builds, {} kills, {} at once, seed {}",
        options.builds, options.kills, options.at_once, options.seed
    );
    let mut report = Report::new(title);
    bed.settle().await?;
    let took = began.elapsed().as_secs_f64();
    bed.conclude(&mut report).await?;
    report.tell("time until all were over, s", format!("{took:.1}"));
    Ok(report)
}

/// Asks for one more environment while few wait, and looks at one that does.
async fn step(bed: &mut Bed, next: &mut usize, builds: usize) -> Result<()> {
    let open = bed.oracle.open();
    if open.len() < BACKLOG && *next < builds && bed.ask(*next).await?.is_some() {
        *next += 1;
    }
    for id in open.iter().take(2) {
        bed.look(id).await?;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(())
}
