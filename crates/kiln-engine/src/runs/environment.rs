//! The environment that a run comes with.

use std::collections::BTreeMap;

use kiln_spec::{
    EnvironmentName, EnvironmentVersion, Input, Kind, Overrides, StoredDocument, Which,
};
use kiln_store::{Action, EnvironmentRow, Scope};
use serde::Deserialize;
use serde_json::Value;

use crate::engine::Engine;
use crate::environments::NewVersion;
use crate::error::EngineError;
use crate::submission::Origin;

/// The name of an environment that a run brings without one.
pub const DEFAULT_RUN_ENVIRONMENT: &str = "default-environment";

/// Versions of one definition that are compared with what a run brings.
const COMPARED: u32 = 100;

/// What names an environment in a document.
#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    version: Option<String>,
}

impl Engine {
    /// The version that the environment of a run is: an object of name and version is one that must be there; a
    /// whole environment is found by its document among the versions of its name, or registered.
    ///
    /// Many runs bring no name and share [`DEFAULT_RUN_ENVIRONMENT`]: each gets the version that it is, whichever is
    /// the newest.
    pub async fn environment_of_run(
        &self,
        scope: &Scope,
        environment: &Value,
        origin: &Origin,
    ) -> Result<EnvironmentRow, EngineError> {
        let named = Named::deserialize(environment).map_err(|error| EngineError::Invalid {
            message: format!("the run's environment is not what it must be: {error}"),
            remedy: "send it as the SDK does".into(),
        })?;
        let name = named.name.as_deref().unwrap_or(DEFAULT_RUN_ENVIRONMENT);
        let name: EnvironmentName = name.parse()?;
        let version = named.version.as_deref().map(str::parse).transpose();
        let version: Option<EnvironmentVersion> = version?;
        let keys = environment
            .as_object()
            .into_iter()
            .flat_map(|map| map.keys());
        if keys.clone().all(|key| key == "name" || key == "version") {
            let which = version.map_or(Which::Latest, Which::Version);
            return self.environment(scope, &name, &which).await;
        }
        let text = environment.to_string();
        let (files, overrides) = (BTreeMap::new(), Overrides::default());
        let input = Input {
            file_name: "environment",
            bytes: text.as_bytes(),
            kind: Some(Kind::AzureMl),
            files: &files,
            overrides: &overrides,
        };
        if version.is_none()
            && let Some(row) = self.equal_version(scope, &name, &input).await?
        {
            return Ok(row);
        }
        let new = NewVersion {
            action: Action::Built,
            detail: Some("by a run".into()),
            ..NewVersion::registered(name, version)
        };
        let registered = self
            .register_environment(scope, &new, &input, origin)
            .await?;
        Ok(registered.row)
    }

    /// The newest version of a name whose document is this one.
    async fn equal_version(
        &self,
        scope: &Scope,
        name: &EnvironmentName,
        input: &Input<'_>,
    ) -> Result<Option<EnvironmentRow>, EngineError> {
        let parsed = kiln_spec::parse(input).map_err(EngineError::Spec)?;
        let document = StoredDocument::of(input, &parsed).map_err(EngineError::Spec)?;
        let digest = document.digest();
        let records = self.inner.store.records();
        let spec_hash = parsed.definition.spec_hash();
        let rows = records.environments_of(scope, &spec_hash, COMPARED).await?;
        let equal = rows.into_iter().rfind(|row| {
            row.name == *name && row.archived_ms.is_none() && digest.equals(&row.digest)
        });
        if equal.is_some() {
            // A registration would have kept what the document came with.
            self.inner
                .keep_credentials(scope, &parsed.credentials)
                .await?;
        }
        Ok(equal)
    }
}
