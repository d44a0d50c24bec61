//! The solver: channels and specs to packages.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kiln_lock::{BaseFacts, ChannelPriority, CondaPackage};
use rattler_conda_types::{
    Channel, MatchSpec, PackageName, PackageNameMatcher, ParseStrictness, RepoDataRecord, Subdir,
};
use rattler_repodata_gateway::{Gateway, GatewayError, RepoData};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::access::{ChannelAccess, Denied};
use crate::channel::NamedChannel;
use crate::error::MissingPackage;
use crate::explain::{explanation, nearest};
use crate::{ChannelSettings, CondaError, Credentials, platform, record, virtual_packages};

/// How long finding out what would help may take after a solve failed.
const HELP_TIME: Duration = Duration::from_secs(10);
/// How many specs are loosened, one at a time, to find out what would help.
const MOST_LOOSENED: usize = 24;
/// How many requests one solve has under way at a time.
const MOST_REQUESTS: usize = 24;
/// Where packages are looked for when the platform has none.
const OTHER_PLATFORMS: [Subdir; 5] = [
    Subdir::Linux64,
    Subdir::LinuxAarch64,
    Subdir::Osx64,
    Subdir::OsxArm64,
    Subdir::Win64,
];

/// What a solver is made of; nothing of it is read from the process's environment.
#[derive(Debug, Clone)]
pub struct SolverSettings {
    /// How channel names become addresses.
    pub channels: ChannelSettings,
    /// A folder for the channels' package lists. What was read with credentials lies apart, by scope.
    pub cache_dir: PathBuf,
}

/// One question to the solver.
#[derive(Debug, Clone)]
pub struct SolveRequest {
    /// Channels in priority order, names or addresses without credentials.
    pub channels: Vec<String>,
    /// MatchSpecs in kiln's canonical text; anything lenient parsing takes.
    pub specs: Vec<String>,
    /// `os/arch[/variant]`.
    pub platform: String,
    /// The base image: its glibc and CUDA are the virtual packages.
    pub facts: BaseFacts,
    /// Flexible prefers the candidates of a higher channel whatever their version and takes a lower
    /// channel's only where they can't meet the constraints, as conda's `flexible` does; strict never
    /// takes a lower channel's package of a name that a higher channel has.
    pub priority: ChannelPriority,
    /// Whether something outside conda's packages (the pip section) needs a python: one is added when
    /// the specs name none.
    pub needs_python: bool,
    /// Credentials of this request's scope.
    pub credentials: Credentials,
    /// The scope that package lists read with credentials are kept for.
    pub scope: String,
    /// The time for everything together.
    pub timeout: Duration,
}

/// The solver's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The packages, sorted by name.
    pub packages: Vec<CondaPackage>,
    /// Sentences for people: what was added.
    pub notes: Vec<String>,
}

/// Solves sets of conda packages.
#[derive(Debug, Clone)]
pub struct CondaSolver {
    client: reqwest::Client,
    settings: SolverSettings,
}

impl CondaSolver {
    /// Makes a solver. The client must not send a `Referer` header: addresses may carry tokens.
    pub fn new(client: reqwest::Client, settings: SolverSettings) -> Self {
        Self { client, settings }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &SolverSettings {
        &self.settings
    }

    /// Finds the packages of an environment. Cancelling the token or dropping the future stops the
    /// solver.
    pub async fn solve(
        &self,
        request: &SolveRequest,
        cancel: &CancellationToken,
    ) -> Result<Solution, CondaError> {
        let stop = Stop::new(request.timeout);
        let work = self.solve_within(request, &stop);
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(CondaError::Cancelled),
            answer = tokio::time::timeout(request.timeout, work) => {
                answer.unwrap_or(Err(CondaError::Timeout { after: request.timeout }))
            }
        }
    }

    async fn solve_within(
        &self,
        request: &SolveRequest,
        stop: &Stop,
    ) -> Result<Solution, CondaError> {
        let subdir = platform::subdir(&request.platform)?;
        let specs = self.specs(request)?;
        let channels = self.channels(request, &specs)?;
        let query = self.query(request, subdir, &channels)?;

        // By name alone: a strict solve must know that a higher channel has a name even where none of
        // its versions fits, and a clash is explained by the versions there are.
        let names = specs.iter().filter_map(name_of).chain(["python", "pip"]);
        let repodata = query.records(names.filter_map(bare_spec).collect()).await?;
        let missing = missing_names(&specs, &repodata);
        if !missing.is_empty() {
            return Err(query.missing(missing).await);
        }

        let offered = crate::virtual_packages(&request.platform, &request.facts);
        let task = Task {
            repodata,
            virtual_packages: virtual_packages::generic(&offered),
            offered,
            priority: request.priority,
            deadline: stop.deadline,
            token: stop.token.clone(),
        };
        let needs_python = request.needs_python;
        let (records, notes) = tokio::task::spawn_blocking(move || task.run(specs, needs_python))
            .await
            .map_err(|error| CondaError::Internal {
                reason: error.to_string(),
            })?
            .map_err(|error| match error {
                CondaError::Timeout { .. } => CondaError::Timeout {
                    after: request.timeout,
                },
                other => other,
            })?;

        let mut packages = records
            .iter()
            .map(|chosen| record::package(chosen, &channels))
            .collect::<Result<Vec<_>, _>>()?;
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Solution { packages, notes })
    }

    /// Parses the specs; a channel written before `::` is resolved by kiln's own rules.
    fn specs(&self, request: &SolveRequest) -> Result<Vec<MatchSpec>, CondaError> {
        request.specs.iter().map(|text| self.spec(text)).collect()
    }

    fn spec(&self, text: &str) -> Result<MatchSpec, CondaError> {
        let invalid = |reason: String| CondaError::Spec {
            spec: text.chars().filter(|c| !c.is_control()).take(200).collect(),
            reason,
        };
        let (channel, rest) = match text.split_once("::") {
            Some((channel, rest)) if !channel.contains(['[', ' ', '=', '<', '>']) => {
                (Some(channel), rest)
            }
            _ => (None, text),
        };
        let mut spec = MatchSpec::from_str(rest, ParseStrictness::Lenient)
            .map_err(|error| invalid(error.to_string()))?;
        if !matches!(spec.name, PackageNameMatcher::Exact(_)) {
            return Err(invalid("it names no one package".into()));
        }
        if spec.url.is_some() {
            return Err(invalid(
                "it is an address, not a package of a channel".into(),
            ));
        }
        if let Some(channel) = channel {
            spec.channel = Some(Arc::new(self.settings.channels.one(channel)?.channel));
        }
        Ok(spec)
    }

    /// The request's channels, and after them those that only a spec names, as conda searches them.
    fn channels(
        &self,
        request: &SolveRequest,
        specs: &[MatchSpec],
    ) -> Result<Vec<NamedChannel>, CondaError> {
        let mut channels = self.settings.channels.resolve(&request.channels)?;
        for channel in specs.iter().filter_map(|spec| spec.channel.as_deref()) {
            if channels
                .iter()
                .all(|known| known.channel.base_url != channel.base_url)
            {
                channels.push(NamedChannel {
                    text: channel.name.clone().unwrap_or_else(|| {
                        channel.base_url.as_str().trim_end_matches('/').to_owned()
                    }),
                    channel: channel.clone(),
                });
            }
        }
        if channels.is_empty() {
            return Err(CondaError::Channel {
                channel: request.channels.join(", "),
                reason: "no channel is left to search".into(),
            });
        }
        Ok(channels)
    }

    fn query(
        &self,
        request: &SolveRequest,
        subdir: Subdir,
        channels: &[NamedChannel],
    ) -> Result<Query, CondaError> {
        let private = channels.iter().any(|known| {
            request
                .credentials
                .find(known.channel.base_url.url())
                .is_some()
        });
        let cache = if private {
            let scope = kiln_oci::Digest::of(request.scope.as_bytes()).to_hex();
            self.settings.cache_dir.join("scoped").join(&scope[..32])
        } else {
            self.settings.cache_dir.join("public")
        };
        std::fs::create_dir_all(&cache).map_err(CondaError::Cache)?;
        let denied = Arc::new(Mutex::new(None));
        let access = ChannelAccess::new(request.credentials.clone(), Arc::clone(&denied));
        let client = reqwest_middleware::ClientBuilder::new(self.client.clone())
            .with(access)
            .build();
        let gateway = Gateway::builder()
            .with_client(client)
            .with_cache_dir(cache)
            .with_max_concurrent_requests(MOST_REQUESTS)
            .finish();
        Ok(Query {
            gateway,
            denied,
            subdir,
            channels: channels.to_vec(),
        })
    }
}

/// Stops the blocking solver when the future that waits for it is dropped.
struct Stop {
    token: rattler_solve::CancellationToken,
    deadline: Instant,
}

impl Stop {
    fn new(timeout: Duration) -> Self {
        Self {
            token: rattler_solve::CancellationToken::new(),
            deadline: Instant::now() + timeout,
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.token.cancel();
    }
}

/// The channels' package lists, as one request may read them.
struct Query {
    gateway: Gateway,
    denied: Arc<Mutex<Option<Denied>>>,
    subdir: Subdir,
    channels: Vec<NamedChannel>,
}

impl Query {
    fn rattler_channels(&self) -> Vec<Channel> {
        self.channels
            .iter()
            .map(|known| known.channel.clone())
            .collect()
    }

    fn texts(&self) -> Vec<String> {
        self.channels
            .iter()
            .map(|known| known.text.clone())
            .collect()
    }

    /// The records of the specs' packages and of all they may depend on.
    async fn records(&self, specs: Vec<MatchSpec>) -> Result<Vec<RepoData>, CondaError> {
        self.gateway
            .query(
                self.rattler_channels(),
                [self.subdir, Subdir::NoArch],
                specs,
            )
            .recursive(true)
            .execute()
            .await
            .map(|output| output.repodata)
            .map_err(|error| self.failure(&error))
    }

    /// Describes packages that no channel has: near names and other platforms.
    async fn missing(&self, names: BTreeSet<String>) -> CondaError {
        let known = self
            .gateway
            .names(self.rattler_channels(), [self.subdir, Subdir::NoArch])
            .execute()
            .await
            .map(|output| output.names)
            .unwrap_or_default();
        let elsewhere = self.elsewhere(&names).await;
        let packages = names
            .iter()
            .map(|name| MissingPackage {
                nearest: nearest(name, known.iter().map(PackageName::as_normalized)),
                other_platforms: elsewhere.get(name).cloned().unwrap_or_default(),
                name: name.clone(),
            })
            .collect();
        CondaError::Missing {
            packages,
            channels: self.texts(),
        }
    }

    async fn elsewhere(&self, names: &BTreeSet<String>) -> BTreeMap<String, Vec<String>> {
        let specs: Vec<MatchSpec> = names.iter().filter_map(|name| bare_spec(name)).collect();
        let others = OTHER_PLATFORMS
            .into_iter()
            .filter(|other| *other != self.subdir);
        let query = self
            .gateway
            .query(self.rattler_channels(), others.collect::<Vec<_>>(), specs)
            .recursive(false)
            .execute();
        // A hint is not worth a long wait or another failure.
        let Ok(Ok(output)) = tokio::time::timeout(HELP_TIME, query).await else {
            return BTreeMap::new();
        };
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in output.repodata.iter().flat_map(RepoData::iter) {
            let name = record.package_record.name.as_normalized().to_owned();
            let subdirs = found.entry(name).or_default();
            if !subdirs.contains(&record.package_record.subdir) {
                subdirs.push(record.package_record.subdir.clone());
            }
        }
        found
    }

    /// What a failed read means, without anything that could hold a credential.
    fn failure(&self, error: &GatewayError) -> CondaError {
        let denied = self
            .denied
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(denied) = denied {
            return CondaError::Denied {
                channel: self.channel_of(&denied.url),
                status: denied.status,
            };
        }
        match error {
            GatewayError::SubdirNotFoundError(missing) => CondaError::ChannelNotFound {
                channel: self.channel_of(&missing.channel.platform_url(Subdir::NoArch)),
            },
            GatewayError::Cancelled => CondaError::Cancelled,
            other => CondaError::Unreachable {
                channels: self.texts().join(", "),
                reason: chain(other),
            },
        }
    }

    /// The channel that an address belongs to, as it was asked for.
    fn channel_of(&self, url: &Url) -> String {
        self.channels
            .iter()
            .find(|known| url.as_str().starts_with(known.channel.base_url.as_str()))
            .map_or_else(
                || url.host_str().unwrap_or("unknown").to_owned(),
                |known| known.text.clone(),
            )
    }
}

/// An error and its causes in one line, each once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.last().is_some_and(|last| last.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    parts.join(": ")
}

fn bare_spec(name: &str) -> Option<MatchSpec> {
    MatchSpec::from_str(name, ParseStrictness::Lenient).ok()
}

fn name_of(spec: &MatchSpec) -> Option<&str> {
    spec.name.as_exact().map(PackageName::as_normalized)
}

/// Names that no queried list has; virtual packages are the base's affair.
fn missing_names(specs: &[MatchSpec], repodata: &[RepoData]) -> BTreeSet<String> {
    let known: BTreeSet<&str> = repodata
        .iter()
        .flat_map(RepoData::iter)
        .map(|record| record.package_record.name.as_normalized())
        .collect();
    specs
        .iter()
        .filter_map(name_of)
        .filter(|name| !name.starts_with("__") && !known.contains(name))
        .map(str::to_owned)
        .collect()
}

/// All that solving takes, away from the network.
struct Task {
    repodata: Vec<RepoData>,
    virtual_packages: Vec<rattler_conda_types::GenericVirtualPackage>,
    offered: Vec<(String, String, String)>,
    priority: ChannelPriority,
    deadline: Instant,
    token: rattler_solve::CancellationToken,
}

/// Why one try gave nothing.
enum NoAnswer {
    /// The constraints clash, with the solver's tree.
    Clash(String),
    /// Anything else.
    Failed(CondaError),
}

type Records = Vec<RepoDataRecord>;

impl Task {
    fn run(
        &self,
        mut specs: Vec<MatchSpec>,
        needs_python: bool,
    ) -> Result<(Records, Vec<String>), CondaError> {
        let mut notes = Vec::new();
        let named = |wanted: &str, specs: &[MatchSpec]| {
            specs.iter().any(|spec| name_of(spec) == Some(wanted))
        };
        if needs_python && !named("python", &specs) {
            specs.extend(bare_spec("python"));
            notes.push(
                "python was added to the conda packages: the pip section needs it".to_owned(),
            );
        }
        let records = match self.attempt(specs.clone(), self.deadline) {
            Ok(records) => records,
            Err(NoAnswer::Failed(error)) => return Err(error),
            Err(NoAnswer::Clash(clash)) => {
                let help = self.help(&specs);
                let explanation = explanation(&clash, help, &self.offered);
                return Err(CondaError::Unsatisfiable(Box::new(explanation)));
            }
        };
        let records = self.with_pip(&mut specs, records, &mut notes)?;
        Ok((records, notes))
    }

    /// conda lets every python bring pip; so does kiln where the channels have it and it fits.
    fn with_pip(
        &self,
        specs: &mut Vec<MatchSpec>,
        records: Records,
        notes: &mut Vec<String>,
    ) -> Result<Records, CondaError> {
        let has = |records: &Records, name: &str| {
            records
                .iter()
                .any(|record| record.package_record.name.as_normalized() == name)
        };
        let offered = self
            .repodata
            .iter()
            .flat_map(RepoData::iter)
            .any(|record| record.package_record.name.as_normalized() == "pip");
        if !has(&records, "python") || has(&records, "pip") || !offered {
            return Ok(records);
        }
        specs.extend(bare_spec("pip"));
        match self.attempt(specs.clone(), self.deadline) {
            Ok(with_pip) => Ok(with_pip),
            Err(NoAnswer::Failed(error)) => Err(error),
            Err(NoAnswer::Clash(_)) => {
                notes.push(
                    "the channels' pip does not fit these packages and is left out".to_owned(),
                );
                Ok(records)
            }
        }
    }

    fn attempt(&self, specs: Vec<MatchSpec>, deadline: Instant) -> Result<Records, NoAnswer> {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut excluded: HashMap<Url, Arc<str>> = HashMap::new();
        for record in self.repodata.iter().flat_map(RepoData::iter) {
            if let Some(reason) = record::refusal(record) {
                excluded.insert(record.url.clone(), Arc::from(reason));
            }
        }
        let task = rattler_solve::SolverTask {
            specs,
            virtual_packages: self.virtual_packages.clone(),
            channel_priority: match self.priority {
                ChannelPriority::Flexible => rattler_solve::ChannelPriority::Flexible,
                ChannelPriority::Strict => rattler_solve::ChannelPriority::Strict,
            },
            timeout: Some(left),
            excluded_candidates: excluded,
            cancellation_token: Some(self.token.clone()),
            ..rattler_solve::SolverTask::from_iter(&self.repodata)
        };
        let answer = rattler_solve::SolverImpl::solve(&mut rattler_solve::resolvo::Solver, task);
        answer
            .map(|result| result.records)
            .map_err(|error| match error {
                rattler_solve::SolveError::Unsolvable(clashes) => {
                    NoAnswer::Clash(clashes.join("\n"))
                }
                rattler_solve::SolveError::Cancelled if self.token.is_cancelled() => {
                    NoAnswer::Failed(CondaError::Cancelled)
                }
                rattler_solve::SolveError::Cancelled => NoAnswer::Failed(CondaError::Timeout {
                    after: Duration::ZERO,
                }),
                other => NoAnswer::Failed(CondaError::Internal {
                    reason: other.to_string(),
                }),
            })
    }

    /// Loosens or leaves out one spec at a time, and says for which of them the rest fits together.
    fn help(&self, specs: &[MatchSpec]) -> Vec<String> {
        let deadline = self.deadline.min(Instant::now() + HELP_TIME);
        let mut help = Vec::new();
        for (index, spec) in specs.iter().enumerate().take(MOST_LOOSENED) {
            if Instant::now() >= deadline {
                break;
            }
            let (Some(name), Some(bare)) = (name_of(spec), name_of(spec).and_then(bare_spec))
            else {
                continue;
            };
            let mut others = specs.to_vec();
            others.remove(index);
            if *spec != bare {
                let mut loosened = others.clone();
                loosened.push(bare);
                if let Ok(records) = self.attempt(loosened, deadline) {
                    help.push(match version_of(&records, name) {
                        Some(version) => format!("loosen `{spec}`: {name} {version} would fit"),
                        None => format!("loosen `{spec}`"),
                    });
                    continue;
                }
            }
            if self.attempt(others, deadline).is_ok() {
                help.push(format!("without `{name}` the rest fits together"));
            }
        }
        help
    }
}

fn version_of(records: &[RepoDataRecord], name: &str) -> Option<String> {
    records
        .iter()
        .find(|record| record.package_record.name.as_normalized() == name)
        .map(|record| record.package_record.version.to_string())
}
