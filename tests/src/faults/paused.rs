//! The process is stopped for longer than its leases last; meanwhile another worker takes its builds.

use std::time::Duration;

use anyhow::Result;
use rand::Rng as _;

use super::Options;
use super::bed::Bed;
use super::records;
use super::report::Report;
use crate::Signal;

/// Shorter than any pause.
const LEASE: Duration = Duration::from_secs(1);
/// How long the other worker keeps what it took.
const TAKEN: Duration = Duration::from_secs(4);

/// Stops and continues kiln at random moments of builds.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut random = options.random();
    let lease = LEASE.as_secs().to_string();
    let mut bed = Bed::new(options, "paused", |kiln| {
        kiln.env("KILN_LIMITS_LEASE", &lease)
    })
    .await?;
    bed.start(None)?;
    let (mut taken, mut touched) = (0, Vec::new());
    for time in 0..options.kills {
        let first = options.builds * time / options.kills;
        let last = options.builds * (time + 1) / options.kills;
        for number in first..last {
            bed.insist(number).await?;
        }
        tokio::time::sleep(Duration::from_millis(600).mul_f64(random.random())).await;
        let server = bed.server().signals();
        server.send(Signal::STOP)?;
        tokio::time::sleep(LEASE.mul_f64(random.random_range(1.5..=2.5))).await;
        // Every other time nobody takes them: the leases have lapsed all the same.
        let others = if time % 2 == 0 {
            // None where it was stopped with the database's lock in its hands.
            records::take_over(&bed.data, TAKEN)
                .await
                .unwrap_or_default()
        } else {
            Vec::new()
        };
        server.send(Signal::CONT)?;
        taken += others.len();
        // Time for the late results to be written, were they not refused.
        if !others.is_empty() {
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
        for (id, fence) in others {
            let found = records::owner(&bed.data, &id).await?;
            if found
                != (
                    Some("another worker".to_owned()),
                    fence,
                    "QUEUED".to_owned(),
                )
            {
                touched.push(format!("{id}: fence {fence} became {found:?}"));
            }
        }
        bed.settle().await?;
    }
    let mut report = Report::new(format!(
        "paused: {} builds, stopped {} times past a lease of {lease} s, seed {}",
        options.builds, options.kills, options.seed
    ));
    report.tell("builds that another worker took meanwhile", taken);
    report.none("  changed by the stopped one afterwards", &touched);
    bed.conclude(&mut report).await?;
    Ok(report)
}
