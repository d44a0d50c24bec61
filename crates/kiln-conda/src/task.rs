//! Solving, away from the network.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kiln_lock::ChannelPriority;
use rattler_conda_types::{GenericVirtualPackage, MatchSpec, RepoDataRecord};
use rattler_repodata_gateway::RepoData;
use url::Url;

use crate::explain::explanation;
use crate::spec::{Pin, bare_spec, name_of};
use crate::{CondaError, record};

/// How long finding out what would help may take after a solve failed.
const HELP_TIME: Duration = Duration::from_secs(10);
/// How many specs are loosened, one at a time, to find out what would help.
const MOST_LOOSENED: usize = 24;

/// All that solving takes, away from the network.
pub(crate) struct Task {
    pub(crate) repodata: Vec<RepoData>,
    pub(crate) virtual_packages: Vec<GenericVirtualPackage>,
    pub(crate) offered: Vec<(String, String, String)>,
    pub(crate) pins: Vec<Pin>,
    pub(crate) priority: ChannelPriority,
    pub(crate) deadline: Instant,
    pub(crate) token: rattler_solve::CancellationToken,
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
    /// Finds the packages, and notes what was added.
    pub(crate) fn run(
        &self,
        mut specs: Vec<MatchSpec>,
        needs_python: bool,
    ) -> Result<(Records, Vec<String>), CondaError> {
        let mut notes = Vec::new();
        let named = |wanted: &str, specs: &[MatchSpec]| {
            specs.iter().any(|spec| name_of(spec) == Some(wanted))
        };
        // pip, where it is named, brings python along.
        if needs_python && !named("python", &specs) && !named("pip", &specs) {
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
            let pinned = self.pins.iter().any(|pin| pin.forbids(record));
            let reason = record::refusal(record)
                .or_else(|| pinned.then_some("it is not of the channel that was asked for"));
            if let Some(reason) = reason {
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
