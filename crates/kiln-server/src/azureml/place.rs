//! Where a request goes: the workspace, and what in it.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use http::{HeaderMap, header};
use kiln_engine::{Origin, Scope};
use kiln_spec::{EnvironmentName, EnvironmentVersion, Label, NameError, Which};
use kiln_store::{ExperimentName, ExperimentRow, ParseRunNameError, RunId};
use serde::Deserialize;

use super::error::AzureError;
use crate::access::{Caller, Right};
use crate::error::ApiError;
use crate::router::AppState;

/// The parts of a path, decoded.
#[derive(Debug, Deserialize)]
pub(super) struct Segments {
    subscription: String,
    group: String,
    workspace: String,
    pub(super) name: Option<String>,
    pub(super) version: Option<String>,
    pub(super) label: Option<String>,
    pub(super) build: Option<String>,
    experiment: Option<String>,
    experiment_id: Option<String>,
    run: Option<String>,
    container: Option<String>,
    path: Option<String>,
    #[serde(rename = "snapshot")]
    _snapshot: Option<String>,
}

/// A workspace, and who asks in it.
#[derive(Debug)]
pub(super) struct Place {
    caller: Caller,
    scope: Scope,
    segments: Segments,
    /// `http://HOST:PORT`, as the client reached this server.
    pub(super) server: String,
}

impl FromRequestParts<AppState> for Place {
    type Rejection = AzureError;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &AppState,
    ) -> Result<Self, Self::Rejection> {
        let caller = Caller::of(&parts.headers, state)?;
        let segments = Path::<Segments>::from_request_parts(parts, state).await;
        let Path(segments) = segments.map_err(|error| {
            let remedy = "send the path as the SDK does, each part percent-encoded";
            ApiError::invalid(error.to_string(), remedy)
        })?;
        let Segments {
            subscription,
            group,
            workspace,
            ..
        } = &segments;
        let text = format!("{subscription}/{group}/{workspace}");
        let scope = text
            .parse()
            .map_err(|_| ApiError::not_found(format!("there is no workspace `{text}`")))?;
        Ok(Self {
            caller,
            scope,
            segments,
            server: server(&parts.headers),
        })
    }
}

/// The address by which a client reached this server.
pub(super) fn server(headers: &HeaderMap) -> String {
    let forwarded = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let scheme = forwarded("x-forwarded-proto").unwrap_or("http");
    let host = headers.get(header::HOST);
    let host = host.and_then(|value| value.to_str().ok());
    let host = forwarded("x-forwarded-host").or(host);
    format!("{scheme}://{}", host.unwrap_or("localhost"))
}

/// A text that stands where an experiment's name or a run's id must.
pub(super) fn no_name(what: &str, error: &ParseRunNameError) -> ApiError {
    ApiError::invalid(format!("this is no {what}: {error}"), "choose another name")
}

fn invalid(error: &NameError) -> ApiError {
    ApiError::invalid(error.to_string(), error.rule())
}

impl Place {
    /// The workspace, if the caller may do this in it.
    pub(super) fn scope(&self, right: Right) -> Result<&Scope, ApiError> {
        self.caller.require(right, self.scope.as_str())?;
        Ok(&self.scope)
    }

    pub(super) fn origin(&self) -> Origin {
        Origin {
            actor: self.caller.name.clone(),
            via: "sdk".into(),
        }
    }

    pub(super) fn name(&self) -> Result<EnvironmentName, ApiError> {
        let text = self.segments.name.as_deref().unwrap_or_default();
        text.parse().map_err(|error| invalid(&error))
    }

    pub(super) fn version(&self) -> Result<Option<EnvironmentVersion>, ApiError> {
        let version = self.segments.version.as_deref().map(str::parse).transpose();
        version.map_err(|error| invalid(&error))
    }

    /// The version, the label, or else the newest.
    pub(super) fn which(&self) -> Result<Which, ApiError> {
        match self.segments.label.as_deref() {
            None => Ok(self.version()?.map_or(Which::Latest, Which::Version)),
            Some(kiln_spec::LATEST) => Ok(Which::Latest),
            Some(label) => label
                .parse::<Label>()
                .map(Which::Label)
                .map_err(|error| invalid(&error)),
        }
    }

    /// The experiment's name.
    pub(super) fn experiment(&self) -> Result<ExperimentName, ApiError> {
        let text = self.segments.experiment.as_deref().unwrap_or_default();
        text.parse().map_err(|error| no_name("experiment", &error))
    }

    /// Whether the path has an experiment in it.
    pub(super) fn names_experiment(&self) -> bool {
        self.segments.experiment.is_some() || self.segments.experiment_id.is_some()
    }

    /// The experiment, by its name or id.
    pub(super) async fn experiment_row(
        &self,
        state: &AppState,
        right: Right,
    ) -> Result<ExperimentRow, AzureError> {
        let scope = self.scope(right)?;
        let found = match &self.segments.experiment_id {
            Some(id) => state.engine.experiment_by_id(scope, id).await,
            None => state.engine.experiment(scope, &self.experiment()?).await,
        };
        Ok(found?)
    }

    /// The experiment's name, whether there is one of that name already or not.
    pub(super) async fn experiment_name(
        &self,
        state: &AppState,
        right: Right,
    ) -> Result<ExperimentName, AzureError> {
        match &self.segments.experiment_id {
            Some(_) => Ok(self.experiment_row(state, right).await?.name),
            None => Ok(self.experiment()?),
        }
    }

    /// The run.
    pub(super) fn run(&self) -> Result<RunId, ApiError> {
        let text = self.segments.run.as_deref().unwrap_or_default();
        text.parse().map_err(|error| no_name("run", &error))
    }

    /// The container of a run's files, and where in it.
    pub(super) fn artifacts(&self) -> (&str, &str) {
        let container = self.segments.container.as_deref();
        let path = self.segments.path.as_deref();
        (container.unwrap_or_default(), path.unwrap_or_default())
    }

    pub(super) fn build(&self) -> &str {
        self.segments.build.as_deref().unwrap_or_default()
    }

    /// The workspace's path, without a service before it.
    pub(super) fn path(&self) -> String {
        let Segments {
            subscription,
            group,
            workspace,
            ..
        } = &self.segments;
        format!(
            "/subscriptions/{subscription}/resourceGroups/{group}/providers/\
             Microsoft.MachineLearningServices/workspaces/{workspace}"
        )
    }

    /// Where a private wheel is, below the host of blobs.
    pub(super) fn blob_path(&self, file: &str) -> String {
        let scope = self.scope.as_str();
        format!("/azureml/{scope}/Environment/azureml-private-packages/{file}")
    }

    /// The workspace's own name.
    pub(super) fn workspace(&self) -> &str {
        &self.segments.workspace
    }

    /// An id that looks like those of workspaces, always the same for one.
    pub(super) fn id(&self) -> String {
        let digest = kiln_oci::Digest::of(self.scope.as_str().as_bytes()).to_hex();
        format!(
            "{}-{}-{}-{}-{}",
            &digest[..8],
            &digest[8..12],
            &digest[12..16],
            &digest[16..20],
            &digest[20..32]
        )
    }
}
