//! What every scenario works with: a kiln that can be killed, its registry, and the oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use kiln_api::{BuildState, BuildStatus, FailureClass};
use serde_json::{Value, json};

use super::api::{Answer, Api};
use super::environments::Environments;
use super::oracle::Oracle;
use super::report::Report;
use super::{Options, pulled, records};
use crate::{Docker, Kiln, Proxy, Server};

/// The longest that builds may take to end once nothing is broken any more.
const PATIENCE: Duration = Duration::from_mins(5);
/// The longest that leftovers may stay.
const SWEEP: Duration = Duration::from_mins(1);

/// A kiln with a registry behind a proxy.
pub(super) struct Bed {
    pub(super) kiln: Kiln,
    pub(super) proxy: Proxy,
    pub(super) environments: Environments,
    pub(super) oracle: Oracle,
    /// The data folder.
    pub(super) data: PathBuf,
    server: Option<Server>,
    api: Api,
    /// `HOST:PORT` of the registry itself, and the path of this bed's repositories in it.
    registry: (String, String),
    log: PathBuf,
    variables: BTreeMap<&'static str, String>,
    at_once: usize,
    /// Times that kiln was ended without warning.
    pub(super) kills: usize,
    /// Builds that had begun and were not over, at each of those times.
    interrupted: Vec<usize>,
    /// What those builds were doing.
    phases: BTreeMap<String, usize>,
    /// The times from a start to the first answer.
    starts: Vec<Duration>,
}

impl Bed {
    /// A bed whose kiln does not run yet.
    pub(super) async fn new(
        options: &Options,
        name: &str,
        set: impl FnOnce(Kiln) -> Kiln,
    ) -> Result<Self> {
        let prefix = crate::fresh_prefix();
        let (host, path) = prefix.split_once('/').context("a prefix has a path")?;
        let proxy = Proxy::start(host, |_, _| None).await?;
        let kiln = Kiln::with_registry(&format!("{}/{path}", proxy.host))
            .env("KILN_LIMITS_MAX_BUILDS", &options.at_once.to_string());
        let kiln = set(kiln);
        let log = options.record.join(format!("{name}.log"));
        fs_err::File::create(&log)?;
        let run = path.rsplit('/').next().unwrap_or_default();
        Ok(Self {
            environments: Environments::new(&prefix, &proxy.host, run).await?,
            oracle: Oracle::new(&options.record.join(format!("{name}.jsonl")))?,
            data: kiln.data(),
            kiln,
            proxy,
            server: None,
            api: Api::new("http://127.0.0.1:1"),
            registry: (host.to_owned(), path.to_owned()),
            log,
            variables: BTreeMap::new(),
            at_once: options.at_once,
            kills: 0,
            interrupted: Vec::new(),
            phases: BTreeMap::new(),
            starts: Vec::new(),
        })
    }

    /// Starts kiln, to crash at a point where one is named.
    pub(super) fn start(&mut self, failpoint: Option<&str>) -> Result<()> {
        let mut command = self.kiln.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.env("KILN_DATA", &self.data).envs(&self.variables);
        if let Some(point) = failpoint {
            command.env("KILN_FAILPOINT", point);
        }
        let log = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        command.stderr(Stdio::from(log.into_file()));
        self.oracle
            .note("start", &json!({ "failpoint": failpoint }))?;
        let began = Instant::now();
        let server = Server::start(command)?;
        self.starts.push(began.elapsed());
        self.api = Api::new(&server.url);
        self.server = Some(server);
        Ok(())
    }

    /// The running process.
    pub(super) fn server(&self) -> &Server {
        self.server.as_ref().expect("kiln runs")
    }

    /// Stops kiln as it should be stopped.
    pub(super) fn stop(&mut self) -> Result<()> {
        let status = self.server.take().context("kiln runs")?.terminate()?;
        ensure!(status.success(), "after SIGTERM: {status}");
        Ok(())
    }

    /// Sets a variable for kiln's next start.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.insert(name, value.to_owned());
    }

    /// Waits for the end of a process that was killed, or kills itself.
    pub(super) fn ended(&mut self, why: &str) -> Result<()> {
        let server = self.server.take().context("kiln runs")?;
        let status = server.wait()?;
        ensure!(!status.success(), "{why}: kiln went on");
        self.kills += 1;
        self.oracle.note("killed", &json!(why))?;
        let mut interrupted = 0;
        for id in self.oracle.open() {
            if let Some(phase) = self.phase(&id)? {
                *self.phases.entry(phase).or_default() += 1;
                interrupted += 1;
            }
        }
        self.interrupted.push(interrupted);
        Ok(())
    }

    /// The phase that an unfinished build's log ends in; none where it waits.
    fn phase(&self, id: &str) -> Result<Option<String>> {
        let phase = self.states(id)?.pop();
        Ok(phase.filter(|phase| !matches!(phase.as_str(), "QUEUED" | "READY" | "FAILED")))
    }

    /// The states that a build's log names, in order.
    fn states(&self, id: &str) -> Result<Vec<String>> {
        let events = self.events(id)?;
        let states = events.iter().filter(|event| event["kind"] == "state");
        Ok(states
            .filter_map(|event| event["phase"].as_str().map(str::to_owned))
            .collect())
    }

    fn events(&self, id: &str) -> Result<Vec<Value>> {
        let path = self.data.join("logs").join(format!("{id}.jsonl"));
        let text = match fs_err::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            text => text?,
        };
        // A crash may leave half a line.
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect())
    }

    /// Asks once for an environment; gives the build's id where it was accepted.
    pub(super) async fn ask(&mut self, number: usize) -> Result<Option<String>> {
        let body = self.environments.body(number);
        self.ask_for(number, &body).await
    }

    /// The same with a body.
    pub(super) async fn ask_for(&mut self, number: usize, body: &Value) -> Result<Option<String>> {
        match self.api.post(body).await {
            Answer::Status(status) => self.oracle.accepted(number, &status).map(Some),
            Answer::Refused(code, body) => {
                self.oracle.refused(code, &body)?;
                Ok(None)
            }
            Answer::Broken => Ok(None),
        }
    }

    /// Asks for an environment until it is accepted.
    pub(super) async fn insist(&mut self, number: usize) -> Result<String> {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(id) = self.ask(number).await? {
                return Ok(id);
            }
            ensure!(
                Instant::now() < limit,
                "environment {number} is not accepted"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Asks where a build is.
    pub(super) async fn look(&mut self, id: &str) -> Result<()> {
        match self.api.show(id).await {
            Answer::Status(status) => self.oracle.seen(id, &status),
            Answer::Refused(404, body) => bail!("the accepted build {id} is unknown: {body}"),
            Answer::Refused(code, body) => self.oracle.refused(code, &body)?,
            Answer::Broken => {}
        }
        Ok(())
    }

    /// Waits until every accepted build is over. What failed by a fault that was injected, and says so, is asked
    /// for again as its answer tells: the promise is an answer that can be acted on.
    pub(super) async fn settle(&mut self) -> Result<()> {
        let limit = Instant::now() + PATIENCE;
        loop {
            for id in self.oracle.open() {
                self.look(&id).await?;
            }
            self.ask_again().await?;
            if self.oracle.open().is_empty() {
                return Ok(());
            }
            if Instant::now() > limit {
                // The oracle tells which.
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ask_again(&mut self) -> Result<()> {
        let failed: Vec<(String, usize)> = self
            .oracle
            .builds
            .iter()
            .filter(|(_, build)| !build.replaced && !build.fails && by_injection(&build.last))
            .map(|(id, build)| (id.clone(), build.number))
            .collect();
        for (id, number) in failed {
            let mut body = self.environments.body(number);
            body["retry"] = json!(true);
            if self
                .ask_for(number, &body)
                .await?
                .is_some_and(|new| new != id)
                && let Some(build) = self.oracle.builds.get_mut(&id)
            {
                build.replaced = true;
            }
        }
        Ok(())
    }

    /// Stops kiln, and holds it to everything it promised.
    pub(super) async fn conclude(&mut self, report: &mut Report) -> Result<()> {
        self.settle().await?;
        let (again, refreshed) = self.ask_all_again().await?;
        let leftovers = self.leftovers().await?;
        let server = self.server.take().context("kiln runs")?;
        let status = server.terminate()?;
        let oracle = &self.oracle;
        let accepted = oracle.builds.len();
        let replaced = oracle
            .builds
            .values()
            .filter(|build| build.replaced)
            .count();
        report.tell("builds accepted", accepted);
        if replaced > 0 {
            report.tell("failed by the fault, asked for again", replaced);
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
        report.check("exit code after SIGTERM", status, "0", status.success());
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

/// Whether a build failed by what was done to kiln, and says so: it crashed kiln too often, or the disk was full.
fn by_injection(status: &BuildStatus) -> bool {
    status.state == BuildState::Failed
        && status.error.as_ref().is_some_and(|error| {
            error.class == FailureClass::Disk || error.message.starts_with("quarantined")
        })
}

fn sessions(folder: &std::path::Path) -> usize {
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
