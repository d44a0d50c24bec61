//! What kiln is held to once everything is over.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use kiln_api::{BuildState, BuildStatus};
use serde_json::json;

use super::api::Answer;
use super::bed::{Bed, is_quarantined};
use super::report::Report;
use super::{pulled, records};
use crate::Docker;

/// The longest that leftovers may stay.
const SWEEP: Duration = Duration::from_mins(1);

impl Bed {
    /// Stops kiln, and holds it to everything it promised.
    pub(super) async fn conclude(&mut self, report: &mut Report) -> Result<()> {
        self.settle().await?;
        let (again, refreshed) = self.ask_all_again().await?;
        let leftovers = self.leftovers().await?;
        let server = self.server.take().context("kiln runs")?;
        let status = server.terminate()?;
        let oracle = &self.oracle;
        let accepted = oracle.builds.len();
        let numbers = oracle.builds.values().map(|build| build.number);
        let environments = numbers.collect::<BTreeSet<_>>().len();
        report.tell("environments accepted", environments);
        report.tell("builds accepted", accepted);
        let replaced = oracle.builds.values().filter(|build| build.replaced);
        let (quarantined, others): (Vec<_>, Vec<_>) =
            replaced.partition(|build| is_quarantined(&build.last));
        for (name, failed) in [
            ("quarantined after 3 kills, asked for again", quarantined),
            ("failed for want of space, asked for again", others),
        ] {
            if !failed.is_empty() {
                report.tell(name, failed.len());
            }
        }
        for (what, count) in &oracle.refused {
            report.tell(&format!("refused: {what}"), count);
        }
        if self.kills > 0 {
            report.tell("kills", self.kills);
            let begun = self.interrupted.iter().filter(|n| **n > 0).count();
            report.tell("  of them while a build was worked on", begun);
            for (phase, count) in &self.phases {
                report.tell(&format!("  builds interrupted in {phase}"), count);
            }
            let slowest = self.starts.iter().max().copied().unwrap_or_default();
            report.tell("slowest start, s", format!("{:.2}", slowest.as_secs_f64()));
        }
        report.none("lost", &oracle.lost());
        report.none("READY but not whole in the registry", &self.broken().await);
        report.none("specs with two images in answers", &oracle.ambiguous());
        report.none("asked again: no hit, or another image", &again);
        report.check(
            "asked again: builds begun",
            refreshed,
            "= 0",
            refreshed == 0,
        );
        self.count_executions(report)?;
        let totals = records::totals(&self.data).await?;
        report.check(
            "builds that the records leave open",
            totals.open,
            "= 0",
            totals.open == 0,
        );
        report.check(
            "specs with two images in the records",
            totals.twice,
            "= 0",
            totals.twice == 0,
        );
        let whole = totals.integrity == "ok";
        report.check("database", &totals.integrity, "integrity_check", whole);
        report.none("left in the engine or the data folder", &leftovers);
        self.count_uploads(report);
        let code = status.code().map_or("none".into(), |code| code.to_string());
        report.check("exit code after SIGTERM", code, "= 0", status.success());
        self.oracle
            .note("totals", &json!({ "builds": totals.builds }))
    }

    /// READY builds whose image can't be pulled.
    async fn broken(&self) -> Vec<String> {
        let http = reqwest::Client::new();
        let registry = &self.registry.0;
        let images = self.oracle.ready().map(|(id, build)| {
            let (image, http) = (build.last.image.clone(), http.clone());
            async move {
                let image = image.unwrap_or_default();
                let checked = pulled::check(&http, registry, &image).await;
                checked
                    .err()
                    .map(|error| format!("{id}: {image}: {error:#}"))
            }
        });
        let checked = futures::stream::iter(images).buffer_unordered(8);
        checked.filter_map(std::future::ready).collect().await
    }

    /// Asks for every READY environment once more: the same image at once, and nothing is built.
    async fn ask_all_again(&self) -> Result<(Vec<String>, i64)> {
        let before = records::totals(&self.data).await?.builds;
        let mut wrong = Vec::new();
        for (id, build) in self.oracle.ready() {
            match self.api.post(&self.environments.body(build.number)).await {
                Answer::Status(status) if same_hit(&status, &build.last) => {}
                other => wrong.push(format!("{id}: {other:?}")),
            }
        }
        let after = records::totals(&self.data).await?.builds;
        Ok((wrong, after - before))
    }

    /// How often something was built, by the builds' logs, and how many manifests were pushed, by the proxy.
    fn count_executions(&self, report: &mut Report) -> Result<()> {
        let mut extra = 0;
        for id in self.oracle.builds.keys() {
            let events = self.events(id)?;
            let begun = events
                .iter()
                .filter(|event| event["kind"] == "state" && event["phase"] == "BUILDING")
                .count();
            let known = "the image was made before the interruption";
            let made = events.iter().filter(|event| event["text"] == known).count();
            extra += begun.saturating_sub(made).saturating_sub(1);
        }
        if self.kills > 0 {
            let interrupted: usize = self.interrupted.iter().sum();
            report.tell("builds interrupted", interrupted);
            let rule = "<= interrupted";
            report.check("image builds run again", extra, rule, extra <= interrupted);
            let most = self.at_once * self.kills;
            let per_kill = format!("{:.2}", extra as f64 / self.kills as f64);
            let rule = format!("<= {}", self.at_once);
            report.check("  per kill", per_kill, &rule, extra <= most);
        } else {
            report.tell("image builds run again", extra);
        }
        let mut pushed: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in self.proxy.seen() {
            if let Some((repository, digest)) = line
                .strip_prefix("PUT ")
                .and_then(|path| path.split_once("/manifests/sha256:"))
            {
                let digests = pushed.entry(repository.to_owned()).or_default();
                if !digests.iter().any(|known| known == digest) {
                    digests.push(digest.to_owned());
                }
            }
        }
        let several = pushed.iter().filter(|(_, digests)| digests.len() > 1);
        let several: Vec<String> = several
            .map(|(name, all)| format!("{name}: {all:?}"))
            .collect();
        report.none("repositories with two images pushed", &several);
        Ok(())
    }

    /// What should be gone once the builds are over.
    async fn leftovers(&self) -> Result<Vec<String>> {
        let limit = Instant::now() + SWEEP;
        loop {
            let mut left = self.left_in_engine()?;
            for folder in ["work", "blobs/tmp"] {
                for entry in fs_err::read_dir(self.data.join(folder))? {
                    left.push(entry?.path().display().to_string());
                }
            }
            if left.is_empty() || Instant::now() > limit {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn left_in_engine(&self) -> Result<Vec<String>> {
        let filter = ["--filter", "label=io.kiln.build"];
        let mut left = Vec::new();
        for (list, label) in [
            (
                &["ps", "-aq"][..],
                "{{index .Config.Labels \"io.kiln.build\"}} container {{.Id}}",
            ),
            (
                &["images", "-aq"],
                "{{index .Config.Labels \"io.kiln.build\"}} image {{.Id}}",
            ),
        ] {
            let listed = Docker::run(&[list, &filter].concat());
            ensure!(listed.code == 0, "docker: {}", listed.stderr);
            let ids: Vec<&str> = listed.stdout.split_whitespace().collect();
            if ids.is_empty() {
                continue;
            }
            // One that somebody else removes meanwhile is an error of the command's, and told beside the rest.
            let labels = Docker::run(&[&["inspect", "--format", label], &ids[..]].concat());
            let ours = labels.stdout.lines().filter(|line| {
                let id = line.split(' ').next().unwrap_or_default();
                self.oracle.builds.contains_key(id)
            });
            left.extend(ours.map(str::to_owned));
        }
        Ok(left)
    }

    /// Upload sessions in the registry's storage, where that is on this machine.
    fn count_uploads(&self, report: &mut Report) {
        let Some(cache) = std::env::var_os("KILN_TESTBED") else {
            return;
        };
        let repositories = PathBuf::from(cache)
            .join("registry/docker/registry/v2/repositories")
            .join(&self.registry.1);
        if repositories.is_dir() {
            report.tell("upload sessions left open", sessions(&repositories));
        }
    }
}

/// Whether an answer is a hit on the image that a build made.
fn same_hit(status: &BuildStatus, built: &BuildStatus) -> bool {
    status.state == BuildState::Ready && status.cached && status.image == built.image
}

fn sessions(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let inside = entries.filter_map(Result::ok).map(|entry| {
        let path = entry.path();
        if entry.file_name() == "_uploads" {
            std::fs::read_dir(path).map_or(0, Iterator::count)
        } else if path.is_dir() && !entry.file_name().to_string_lossy().starts_with('_') {
            sessions(&path)
        } else {
            0
        }
    });
    inside.sum()
}
