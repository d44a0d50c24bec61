//! What every scenario works with: a kiln that can be killed, its registry, and the oracle.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kiln_api::{BuildState, BuildStatus, FailureClass};
use serde_json::{Value, json};

use super::Options;
use super::api::{Answer, Api};
use super::environments::Environments;
use super::oracle::Oracle;
use crate::{Kiln, Proxy, Server};

/// The longest that builds may take to end once nothing is broken any more.
const PATIENCE: Duration = Duration::from_mins(5);

/// A kiln with a registry behind a proxy.
pub(super) struct Bed {
    pub(super) kiln: Kiln,
    pub(super) proxy: Proxy,
    pub(super) environments: Environments,
    pub(super) oracle: Oracle,
    /// The data folder.
    pub(super) data: PathBuf,
    pub(super) server: Option<Server>,
    pub(super) api: Api,
    /// `HOST:PORT` of the registry itself, and the path of this bed's repositories in it.
    pub(super) registry: (String, String),
    log: PathBuf,
    variables: BTreeMap<&'static str, String>,
    pub(super) at_once: usize,
    /// Times that kiln was ended without warning.
    pub(super) kills: usize,
    /// Builds that had begun and were not over, at each of those times.
    pub(super) interrupted: Vec<usize>,
    /// What those builds were doing.
    pub(super) phases: BTreeMap<String, usize>,
    /// The times from a start to the first answer.
    pub(super) starts: Vec<Duration>,
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

    /// The events of a build's log.
    pub(super) fn events(&self, id: &str) -> Result<Vec<Value>> {
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
}

/// Whether a build failed by what was done to kiln, and says so: it crashed kiln too often, or the disk was full.
fn by_injection(status: &BuildStatus) -> bool {
    status.state == BuildState::Failed
        && status
            .error
            .as_ref()
            .is_some_and(|error| error.class == FailureClass::Disk || is_quarantined(status))
}

/// Whether a build ended by the rule of the third crash.
pub(super) fn is_quarantined(status: &BuildStatus) -> bool {
    let failure = status.error.as_ref();
    failure.is_some_and(|failure| failure.message.starts_with("quarantined"))
}
