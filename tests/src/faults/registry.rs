//! Half of the registry's answers are wrong.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use axum::http::Method;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::Options;
use super::bed::Bed;
use super::records;
use super::report::Report;
use crate::Fault;

/// Faults that any request can meet.
const ANY: [Fault; 5] = [
    Fault::Fails,
    Fault::TooManyAtAll,
    Fault::Resets,
    Fault::Loses,
    Fault::Delays(Duration::from_millis(100)),
];
/// Faults of an answer that has a body.
const BODIES: [Fault; 2] = [Fault::Truncates, Fault::Corrupt];

/// The longest that one build may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// Fewer builds make no median that says anything.
const ENOUGH: usize = 20;

/// Builds as many environments without faults as with them, and compares.
pub(super) async fn run(options: &Options) -> Result<Report> {
    // Every hit is verified, again and again.
    let set = |kiln: crate::Kiln| kiln.env("KILN_LIMITS_VERIFY_AFTER", "0");
    let mut bed = Bed::new(options, "registry", set).await?;
    bed.start(None)?;
    let builds = options.builds;
    let whole = timed(&mut bed, 0..builds, 0).await?;
    let asked = Arc::new(AtomicUsize::new(0));
    let faulty = Arc::new(AtomicUsize::new(0));
    let mut random = options.random();
    let counts = (Arc::clone(&asked), Arc::clone(&faulty));
    bed.proxy.script(move |method, _| {
        counts.0.fetch_add(1, Ordering::Relaxed);
        let fault = random.random_bool(0.5).then(|| choose(&mut random, method));
        counts
            .1
            .fetch_add(usize::from(fault.is_some()), Ordering::Relaxed);
        fault
    });
    let broken = timed(&mut bed, builds..2 * builds, builds).await?;
    bed.settle().await?;
    bed.proxy.script(|_, _| None);
    let mut report = Report::new(format!(
        "registry: half of its answers faulty, {builds} builds one by one, seed {}",
        options.seed
    ));
    report.tell("requests", asked.load(Ordering::Relaxed));
    report.tell("  of them faulty", faulty.load(Ordering::Relaxed));
    report.tell("hits asked for and verified meanwhile", builds);
    let rows = records::totals(&bed.data).await?.builds;
    let wanted = i64::try_from(2 * builds)?;
    report.check("builds begun", rows, &format!("= {wanted}"), rows == wanted);
    let ready = bed
        .oracle
        .ready()
        .filter(|(_, build)| build.number >= builds);
    let ready = ready.count();
    let share = 100.0 * ready as f64 / builds as f64;
    let value = format!("{share:.1}");
    report.check("READY, %", value, ">= 99", share >= 99.0);
    let medians = [median(whole), median(broken)].map(|time| time.as_secs_f64());
    report.tell("median without faults, s", format!("{:.2}", medians[0]));
    report.tell("median with faults, s", format!("{:.2}", medians[1]));
    let ratio = medians[1] / medians[0];
    let value = format!("{ratio:.2}");
    if builds < ENOUGH {
        report.tell("ratio", value);
    } else {
        report.check("ratio", value, "<= 3", ratio <= 3.0);
    }
    bed.conclude(&mut report).await?;
    Ok(report)
}

fn choose(random: &mut StdRng, method: &Method) -> Fault {
    let bodies = if *method == Method::GET {
        BODIES.len()
    } else {
        0
    };
    let chosen = random.random_range(0..ANY.len() + bodies);
    ANY.get(chosen)
        .copied()
        .unwrap_or_else(|| BODIES[chosen - ANY.len()])
}

/// Builds environments one by one and gives how long each took; before each, one of `hits` is asked for again.
async fn timed(bed: &mut Bed, numbers: Range<usize>, hits: usize) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    for number in numbers {
        if hits > 0 {
            bed.insist(number % hits).await?;
        }
        let began = Instant::now();
        let id = bed.insist(number).await?;
        let limit = began + PATIENCE;
        while !bed.oracle.builds[&id].is_over() && Instant::now() < limit {
            tokio::time::sleep(Duration::from_millis(10)).await;
            bed.look(&id).await?;
        }
        times.push(began.elapsed());
    }
    Ok(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
