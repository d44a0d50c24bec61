//! Somebody else holds the database's write lock.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::Rng as _;
use sqlx::Connection as _;

use super::Options;
use super::bed::Bed;
use super::records;
use super::report::Report;

/// kiln waits this long for the lock before it says so.
const BUSY: Duration = Duration::from_secs(5);
/// The longest that the lock is held beyond that.
const BEYOND: Duration = Duration::from_secs(4);

/// The lock is taken at random moments of builds, for longer than a lease and than kiln waits for it.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut random = options.random();
    let mut bed = Bed::new(options, "database", |kiln| {
        kiln.env("KILN_LIMITS_LEASE", "3")
    })
    .await?;
    bed.start(None)?;
    bed.insist(0).await?;
    bed.settle().await?;
    let (mut slowest, mut hits, mut refused) = (Duration::ZERO, 0, 0);
    for time in 0..options.kills {
        let first = 1 + (options.builds - 1) * time / options.kills;
        let last = 1 + (options.builds - 1) * (time + 1) / options.kills;
        for number in first..last {
            bed.insist(number).await?;
        }
        tokio::time::sleep(Duration::from_millis(700).mul_f64(random.random())).await;
        let lock = records::lock(&bed.data).await?;
        let until = Instant::now() + BUSY + BEYOND.mul_f64(random.random_range(0.5..=1.0));
        hits += usize::from(bed.ask(0).await?.is_some());
        let began = Instant::now();
        refused += usize::from(bed.ask(options.builds + time).await?.is_none());
        slowest = slowest.max(began.elapsed());
        tokio::time::sleep_until(until.into()).await;
        lock.close().await?;
        bed.insist(options.builds + time).await?;
        bed.settle().await?;
    }
    let times = options.kills;
    let mut report = Report::new(format!(
        "database: {} builds, its lock held elsewhere {times} times, seed {}",
        options.builds, options.seed
    ));
    report.check(
        "new builds refused meanwhile",
        refused,
        &format!("= {times}"),
        refused == times,
    );
    let others = bed
        .oracle
        .refused
        .keys()
        .filter(|key| !key.starts_with("503 "));
    let others: Vec<String> = others.cloned().collect();
    report.none("refused by anything but 503", &others);
    let seconds = slowest.as_secs_f64();
    report.check(
        "slowest refusal, s",
        format!("{seconds:.1}"),
        "< 12",
        seconds < 12.0,
    );
    report.check(
        "hits answered meanwhile",
        hits,
        &format!("= {times}"),
        hits == times,
    );
    bed.conclude(&mut report).await?;
    Ok(report)
}
