//! A crash at every step of a build's way, by kiln's own failpoints.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use kiln_api::BuildState;

use super::Options;
use super::bed::Bed;
use super::report::Report;
use crate::{Fault, Signal};

/// How kiln is led to a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By a build that gets its answer before.
    Builds,
    /// By a request that gets no answer.
    Asks,
    /// By a build, so soon that the answer to its request may be lost.
    Races,
    /// By an environment that can't be built.
    Fails,
    /// By a registry that is down for a while.
    Retries,
    /// By SIGTERM while a build goes on.
    Stops,
}

/// Every transition of a build has a point before it.
const POINTS: [(&str, Way); 14] = [
    ("before-accepted", Way::Asks),
    ("after-accepted", Way::Asks),
    ("after-claim", Way::Races),
    ("before-lock", Way::Builds),
    ("before-building", Way::Builds),
    ("before-push-note", Way::Builds),
    ("before-manifest", Way::Builds),
    ("before-verify", Way::Builds),
    ("before-ready", Way::Builds),
    ("before-tags", Way::Builds),
    ("after-tags", Way::Builds),
    ("before-failed", Way::Fails),
    ("before-retry", Way::Retries),
    ("before-release", Way::Stops),
];

/// kiln crashes at each point once.
pub(super) async fn run(options: &Options) -> Result<Report> {
    let mut bed = Bed::new(options, "failpoints", |kiln| {
        kiln.env("KILN_LIMITS_REGISTRY_BUDGET", "2")
            .env("KILN_LIMITS_DRAIN", "0")
    })
    .await?;
    let mut report = Report::new(format!("failpoints: {} points", POINTS.len()));
    for (number, (point, way)) in POINTS.into_iter().enumerate() {
        bed.start(Some(point))?;
        crash(&mut bed, number, way).await.context(point)?;
        bed.ended(point)?;
        bed.proxy.script(|_, _| None);
        bed.start(None)?;
        let wanted = if way == Way::Fails {
            BuildState::Failed
        } else {
            BuildState::Ready
        };
        let id = match way {
            // Whether it was accepted is not known: asking again must be safe.
            Way::Asks | Way::Races => bed.insist(number).await?,
            _ => open(&bed, number)?,
        };
        bed.settle().await?;
        let state = bed.oracle.builds[&id].last.state;
        let value = format!("{state:?}").to_uppercase();
        let rule = format!("{wanted:?}").to_uppercase();
        report.check(&format!("crash {point}"), value, &rule, state == wanted);
        if number + 1 < POINTS.len() {
            bed.stop()?;
        }
    }
    bed.conclude(&mut report).await?;
    Ok(report)
}

async fn crash(bed: &mut Bed, number: usize, way: Way) -> Result<()> {
    match way {
        Way::Asks => {
            ensure!(bed.ask(number).await?.is_none(), "there was an answer");
        }
        Way::Races => {
            bed.ask(number).await?;
        }
        Way::Builds => {
            bed.ask(number).await?.context("it is not accepted")?;
        }
        Way::Fails => {
            let body = bed.environments.failing(number);
            let id = bed.ask_for(number, &body).await?;
            let id = id.context("it is not accepted")?;
            if let Some(build) = bed.oracle.builds.get_mut(&id) {
                build.fails = true;
            }
        }
        Way::Retries => {
            bed.proxy.script(|_, _| Some(Fault::Fails));
            bed.ask(number).await?.context("it is not accepted")?;
        }
        Way::Stops => {
            let slowly = Fault::Delays(Duration::from_secs(1));
            bed.proxy.script(move |_, _| Some(slowly));
            let id = bed.ask(number).await?.context("it is not accepted")?;
            let limit = Instant::now() + Duration::from_mins(1);
            while bed.oracle.builds[&id].last.state != BuildState::Resolving {
                bed.look(&id).await?;
                ensure!(Instant::now() < limit, "it does not begin");
            }
            bed.server().signals().send(Signal::TERM)?;
        }
    }
    Ok(())
}

/// The build of an environment that was accepted last.
fn open(bed: &Bed, number: usize) -> Result<String> {
    let build = bed
        .oracle
        .builds
        .iter()
        .find(|(_, build)| build.number == number);
    Ok(build.context("it was accepted")?.0.clone())
}
