//! Bodies of `/v1/builds`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{EnvironmentId, Failure};

/// The body of `POST /v1/builds`: at most one of `environment`, `conda`, `requirements` is given.
///
/// A document that has a name, here or in itself, is registered under it. Without a document `name` is
/// that of a registered environment, and without both the default environment is built.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BuildRequest {
    /// An Azure ML environment as the SDK serialises it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub environment: Option<Box<serde_json::value::RawValue>>,
    /// The text of a conda `environment.yml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conda: Option<String>,
    /// The text of a pip `requirements.txt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// The environment's name in the workspace, in place of the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The environment's version; without a document it may be absent or `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The base image, in place of the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Asks for the GPU default base when none is given.
    #[serde(default)]
    pub gpu: bool,
    /// `os/arch[/variant]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Files that the document includes (`-r`, `-c`), text by relative path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// `auto`, `assemble` or `docker`.
    #[serde(default)]
    pub backend: BackendChoice,
    /// Resolves anew and makes the result the current generation.
    #[serde(default)]
    pub refresh: bool,
    /// Forgets a remembered failure.
    #[serde(default)]
    pub retry: bool,
    /// Answers what would happen and changes nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// An http or https address that is told of the build's events, signed, until it has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<String>,
    /// Seconds to wait for READY or FAILED, at most 600.
    #[serde(default)]
    pub wait: u64,
}

impl BuildRequest {
    /// Whether it holds an environment's document.
    pub fn has_document(&self) -> bool {
        self.environment.is_some() || self.conda.is_some() || self.requirements.is_some()
    }
}

/// Which backend builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackendChoice {
    /// kiln chooses.
    #[default]
    Auto,
    /// Without a container engine.
    Assemble,
    /// A Docker Engine with BuildKit.
    Docker,
}

/// Where a build is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum BuildState {
    /// Accepted, not begun.
    Queued,
    /// Base facts and packages are being resolved.
    Resolving,
    /// The backend builds.
    Building,
    /// Blobs and the manifest are on their way to the registry.
    Pushing,
    /// The image is in the registry.
    Ready,
    /// It failed; `error` says why.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
}

impl BuildState {
    /// The state as the API and the store write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Resolving => "RESOLVING",
            Self::Building => "BUILDING",
            Self::Pushing => "PUSHING",
            Self::Ready => "READY",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether nothing more happens to the build.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ready | Self::Failed | Self::Cancelled)
    }
}

/// The answer of `POST /v1/builds` and `GET /v1/builds/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildStatus {
    /// Always `azureml/azureml_<first 32 hex digits of spec_hash>`.
    pub name: String,
    /// Always `HOST[/PREFIX]/azureml/azureml_<hash>@sha256:...`, or null while there is none.
    pub image: Option<String>,
    /// All 64 hex digits.
    pub spec_hash: String,
    /// The environment that the request named or was registered as; only in the answer to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentId>,
    /// The build that made, makes or failed to make the image; null for a hit found in the registry.
    pub build_id: Option<String>,
    /// Where the build is.
    pub state: BuildState,
    /// The number of the image among those of its definition, from 1.
    pub generation: Option<u64>,
    /// Whether nothing was started or joined for this answer.
    pub cached: bool,
    /// Whether a build that somebody else started was joined.
    pub joined: bool,
    /// The name of who waits by this answer, for `DELETE /v1/builds/{id}?waiter=`; only in answers to
    /// `POST` while the build goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiter: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// What a person should know of the input.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The backend that built it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// A page of builds, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BuildList {
    /// The builds of this page.
    pub value: Vec<BuildStatus>,
    /// The `before` of the next page; null when there is none.
    pub next: Option<String>,
}

/// What a request that leaves something out gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Defaults {
    /// `HOST[/PREFIX]` of images.
    pub registry: Option<String>,
    /// The platform.
    pub platform: String,
    /// The base when none is given.
    pub base_cpu: String,
    /// The base when none is given and a GPU is asked for.
    pub base_gpu: String,
    /// Names of the backends that can be chosen.
    pub backends: Vec<String>,
}
