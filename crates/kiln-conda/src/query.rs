//! The channels' package lists, read through rattler's gateway.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rattler_conda_types::{Channel, MatchSpec, PackageName, Subdir, VersionWithSource};
use rattler_repodata_gateway::{Gateway, GatewayError, RepoData};
use url::Url;

use crate::CondaError;
use crate::access::Denied;
use crate::channel::NamedChannel;
use crate::error::MissingPackage;
use crate::explain::nearest;
use crate::spec::{bare_spec, name_of};

/// How long the search for a missing package on other platforms may take.
const HELP_TIME: Duration = Duration::from_secs(10);
/// Where packages are looked for when the platform has none.
const OTHER_PLATFORMS: [Subdir; 5] = [
    Subdir::Linux64,
    Subdir::LinuxAarch64,
    Subdir::Osx64,
    Subdir::OsxArm64,
    Subdir::Win64,
];

/// A package that a channel has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Its newest version.
    pub version: String,
    /// The channel that has it, as it was asked for.
    pub channel: String,
}

/// The channels' package lists, as one request may read them.
pub(crate) struct Query {
    pub(crate) gateway: Gateway,
    pub(crate) denied: Arc<Mutex<Option<Denied>>>,
    pub(crate) subdir: Subdir,
    pub(crate) channels: Vec<NamedChannel>,
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
    pub(crate) async fn records(&self, specs: Vec<MatchSpec>) -> Result<Vec<RepoData>, CondaError> {
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

    /// The newest version of each package that a channel has, with the channel it is in.
    pub(crate) async fn newest(
        &self,
        specs: Vec<MatchSpec>,
    ) -> Result<BTreeMap<String, Offer>, CondaError> {
        let query = self.gateway.query(
            self.rattler_channels(),
            [self.subdir, Subdir::NoArch],
            specs,
        );
        let answer = query.recursive(false).execute().await;
        let repodata = answer.map_err(|error| self.failure(&error))?.repodata;
        let mut newest: BTreeMap<String, (VersionWithSource, String)> = BTreeMap::new();
        for record in repodata.iter().flat_map(RepoData::iter) {
            let package = &record.package_record;
            let found = (&package.version, self.channel_of(&record.url));
            let name = package.name.as_normalized();
            if newest.get(name).is_none_or(|(known, _)| known < found.0) {
                newest.insert(name.to_owned(), (found.0.clone(), found.1));
            }
        }
        let offers = newest.into_iter().map(|(name, (version, channel))| {
            let version = version.to_string();
            (name, Offer { version, channel })
        });
        Ok(offers.collect())
    }

    /// Describes packages that no channel has: near names and other platforms.
    pub(crate) async fn missing(&self, names: BTreeSet<String>) -> CondaError {
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

/// Names that no queried list has; virtual packages are the base's affair.
pub(crate) fn missing_names(specs: &[MatchSpec], repodata: &[RepoData]) -> BTreeSet<String> {
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
