//! The solver: channels and specs to packages.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kiln_lock::{BaseFacts, ChannelPriority, CondaPackage};
use rattler_conda_types::{MatchSpec, PackageNameMatcher, ParseStrictness, Subdir};
use rattler_repodata_gateway::Gateway;
use tokio_util::sync::CancellationToken;

use crate::access::ChannelAccess;
use crate::channel::NamedChannel;
use crate::query::{Offer, Query, missing_names};
use crate::spec::{Pin, bare_spec, name_of};
use crate::task::Task;
use crate::{ChannelSettings, CondaError, Credentials, platform, record, virtual_packages};

/// How many requests one solve has under way at a time.
const MOST_REQUESTS: usize = 24;

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

    /// The newest version of each of the request's packages that its channels have for its platform;
    /// what none has is left out. Nothing is solved.
    ///
    /// # Errors
    /// When the channels can't be read in the request's time.
    pub async fn newest(
        &self,
        request: &SolveRequest,
    ) -> Result<BTreeMap<String, Offer>, CondaError> {
        let subdir = platform::subdir(&request.platform)?;
        let channels = self.settings.channels.resolve(&request.channels)?;
        let query = self.query(request, subdir, &channels)?;
        let specs = request.specs.iter().filter_map(|name| bare_spec(name));
        let after = request.timeout;
        tokio::time::timeout(after, query.newest(specs.collect()))
            .await
            .unwrap_or(Err(CondaError::Timeout { after }))
    }

    async fn solve_within(
        &self,
        request: &SolveRequest,
        stop: &Stop,
    ) -> Result<Solution, CondaError> {
        let subdir = platform::subdir(&request.platform)?;
        let (specs, pins) = self.specs(request)?;
        let channels = self.channels(request, &specs, &pins)?;
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
            pins,
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

    /// Parses the specs; a channel written before `::` is resolved by kiln's own rules, and `defaults`
    /// there is any of the channels it stands for.
    fn specs(&self, request: &SolveRequest) -> Result<(Vec<MatchSpec>, Vec<Pin>), CondaError> {
        let mut pins = Vec::new();
        let mut specs = Vec::new();
        for text in &request.specs {
            match text.strip_prefix("defaults::") {
                None => specs.push(self.spec(text)?),
                Some(rest) => {
                    let spec = self.spec(rest)?;
                    let channels = self.settings.channels.resolve(&["defaults".to_owned()])?;
                    let name = name_of(&spec).unwrap_or_default().to_owned();
                    pins.push(Pin { name, channels });
                    specs.push(spec);
                }
            }
        }
        Ok((specs, pins))
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
        pins: &[Pin],
    ) -> Result<Vec<NamedChannel>, CondaError> {
        let mut channels = self.settings.channels.resolve(&request.channels)?;
        for pinned in pins.iter().flat_map(|pin| &pin.channels) {
            let base_url = &pinned.channel.base_url;
            if channels
                .iter()
                .all(|known| known.channel.base_url != *base_url)
            {
                channels.push(pinned.clone());
            }
        }
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
