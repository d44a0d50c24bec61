//! Why a request is answered as it is, what differs, and what would be better.

use std::time::Duration;

use kiln_api::{BuildState, BuildStatus, Comparison, Explanation, RefreshChange, Verdict};
use kiln_lock::Lock;
use kiln_spec::{Definition, EnvironmentName, Which};
use kiln_store::Scope;

use crate::engine::{Engine, Inner, Key};
use crate::environments::{base_change, differences, locked_base, package_changes};
use crate::error::EngineError;
use crate::resolve::Silent;
use crate::submission::Submission;

/// How long the channels may take to say what they have.
const HINTS_TIME: Duration = Duration::from_secs(20);

impl Engine {
    /// Explains what comes of a request now; nothing is registered or built.
    ///
    /// `against` is compared with, or the latest version of the document's own name. With `resolve` the
    /// definition is resolved anew, which takes as long as for a build; what comes of it is not kept, but
    /// the document's credentials are, as for a build.
    pub async fn explain(
        &self,
        mut submission: Submission,
        against: Option<(EnvironmentName, Which)>,
        resolve: bool,
    ) -> Result<Explanation, EngineError> {
        let inner = &self.inner;
        let key = (submission.scope.clone(), submission.spec_hash);
        let definition = submission.parsed.definition.clone();
        let compared = match against.or_else(|| own_name(&submission)) {
            Some((name, which)) => self.compared(&submission, &name, &which).await?,
            None => None,
        };
        if resolve {
            let credentials = &submission.parsed.credentials;
            inner.keep_credentials(&key.0, credentials).await?;
        }
        let refreshed = submission.options.refresh;
        submission.options.dry_run = true;
        submission.options.request = None;
        submission.options.callbacks = Vec::new();
        let status = self.submit(submission).await?.status().clone();
        let verdict = verdict(&status);
        let stored = inner.stored_lock(&key).await?;
        let reason = match verdict {
            Verdict::Hit => hit(&status),
            Verdict::Building => "it is being built now; a request joins that build".to_owned(),
            Verdict::Failed => "it failed before, and nothing that could change that did since; \
                                `retry` or `refresh` asks again"
                .to_owned(),
            Verdict::Miss if refreshed => "a refresh builds the next generation".to_owned(),
            Verdict::Miss => inner.miss(&key, stored.as_ref()).await?,
        };
        let refresh = if resolve {
            Some(
                inner
                    .refreshed(&key.0, &definition, stored.as_ref())
                    .await?,
            )
        } else {
            None
        };
        Ok(Explanation {
            verdict,
            reason,
            status,
            compared,
            refresh,
            hints: inner.hints(&key.0, &definition).await,
        })
    }

    async fn compared(
        &self,
        submission: &Submission,
        name: &EnvironmentName,
        which: &Which,
    ) -> Result<Option<Comparison>, EngineError> {
        let own = own_name(submission).is_some_and(|(own, _)| own == *name);
        let row = match self.environment(&submission.scope, name, which).await {
            // A name that is new has nothing to be compared with, unless it was asked for.
            Err(EngineError::NotFound { .. }) if own && *which == Which::Latest => return Ok(None),
            row => row?,
        };
        let parsed = row.document.parse(row.name.as_str());
        let old = parsed.map_err(EngineError::Spec)?.definition;
        let new = &submission.parsed.definition;
        let differences = differences((&old, None), (new, None));
        Ok(Some(Comparison {
            with: kiln_api::EnvironmentId {
                name: row.name.to_string(),
                version: row.version.to_string(),
            },
            spec_hash: row.spec_hash.to_hex(),
            same_definition: row.spec_hash == submission.spec_hash,
            packages: differences.packages,
            variables: differences.variables,
            base: differences.base,
            fields: differences.fields,
        }))
    }
}

/// The name that a document is registered under when it is built.
fn own_name(submission: &Submission) -> Option<(EnvironmentName, Which)> {
    let registration = submission.registration.as_ref()?;
    Some((registration.version.name.clone(), Which::Latest))
}

fn verdict(status: &BuildStatus) -> Verdict {
    match status.state {
        BuildState::Ready => Verdict::Hit,
        BuildState::Failed | BuildState::Cancelled => Verdict::Failed,
        _ if status.joined => Verdict::Building,
        _ => Verdict::Miss,
    }
}

fn hit(status: &BuildStatus) -> String {
    let generation = status.generation.unwrap_or_default();
    match &status.build_id {
        Some(build) => format!("generation {generation} of it was built by {build}"),
        None => format!("generation {generation} of it was found in the registry"),
    }
}

impl Inner {
    /// Why there is no image.
    async fn miss(&self, key: &Key, stored: Option<&Lock>) -> Result<String, EngineError> {
        let first = self.store.records().image_of_generation(&key.0, &key.1, 1);
        Ok(match (first.await?, stored) {
            (Some(image), Some(_)) => format!(
                "its image in {} is gone, or was meant for another place; it is built again from its lock",
                image.repository
            ),
            (Some(image), None) => format!(
                "its image in {} is gone, or was meant for another place; its packages are resolved anew",
                image.repository
            ),
            (None, Some(_)) => {
                "no image of this definition was built, but its packages are resolved \
                                already and stay so"
                    .to_owned()
            }
            (None, None) => "nobody asked for this definition before".to_owned(),
        })
    }

    /// What a refresh would change.
    async fn refreshed(
        &self,
        scope: &Scope,
        definition: &Definition,
        stored: Option<&Lock>,
    ) -> Result<RefreshChange, EngineError> {
        let access = self.build_access(scope).await?;
        let _kept = self.collecting.read().await;
        let request = self.resolve_request(scope, definition, self.held_archives(None), &access);
        let cancel = self.stop.child_token();
        let resolved = self.resolve_or_reuse(&request, None, &Silent, &cancel);
        let new = resolved.await?.lock;
        let Some(old) = stored else {
            return Ok(RefreshChange {
                resolved_before: false,
                same: false,
                packages: Vec::new(),
                base: None,
            });
        };
        let bases = locked_base(old).zip(locked_base(&new));
        Ok(RefreshChange {
            resolved_before: true,
            same: old.hash() == new.hash(),
            packages: package_changes(old, &new),
            base: bases.and_then(|(old, new)| base_change(old, new)),
        })
    }

    /// pip requirements that the definition's channels have too.
    async fn hints(&self, scope: &Scope, definition: &Definition) -> Vec<String> {
        let names = pip_names(definition);
        let has_channels = definition
            .conda
            .as_ref()
            .is_some_and(|conda| !conda.channels.is_empty() && !conda.dependencies.is_empty());
        if names.is_empty() || !has_channels || definition.python.user_managed {
            return Vec::new();
        }
        let access = match self.build_access(scope).await {
            Ok(access) => access,
            Err(failure) => {
                return vec![format!("the channels were not asked: {}", failure.message)];
            }
        };
        let request = self.resolve_request(scope, definition, self.held_archives(None), &access);
        let offers = self.resolver.channel_offers(&request, names, HINTS_TIME);
        match offers.await {
            Ok(offers) => offers
                .into_iter()
                .map(|(name, offer)| {
                    let (channel, version) = (offer.channel, offer.version);
                    format!(
                        "pip `{name}`: the channel {channel} has {name} {version}; as a conda dependency it is \
                         chosen together with the others"
                    )
                })
                .collect(),
            Err(error) => vec![format!("the channels could not be asked: {error}")],
        }
    }
}

/// Names of the pip section, those that are no addresses.
fn pip_names(definition: &Definition) -> Vec<String> {
    let requirements = definition.pip.iter().flat_map(|pip| &pip.requirements);
    requirements
        .map(|one| one.requirement.as_str())
        .filter(|text| !text.contains('@'))
        .map(|text| {
            let end = text
                .find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))
                .unwrap_or(text.len());
            text[..end].to_owned()
        })
        .collect()
}
