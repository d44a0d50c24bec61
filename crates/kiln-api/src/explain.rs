//! Bodies of `/v1/explain`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BuildRequest, BuildStatus, EnvironmentId, PackageChange, ValueChange};

/// The body of `POST /v1/explain`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The request that is explained; nothing is registered, written or built.
    pub build: BuildRequest,
    /// `NAME[:VERSION]` to compare with; without it, the latest version of the document's own name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// Resolves anew, without keeping what comes of it, and tells what a refresh would change.
    #[serde(default)]
    pub resolve: bool,
}

/// Why a request for an image is answered as it is.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// What comes of the request.
    pub verdict: Verdict,
    /// Why, in a sentence for people.
    pub reason: String,
    /// The answer to the request now, as `dry_run` gives it.
    pub status: BuildStatus,
    /// How the definition differs from a named version's; null where nothing is to be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<Comparison>,
    /// What a refresh would change; null unless it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh: Option<RefreshChange>,
    /// Sentences for people: what could be better.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// What comes of a request for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// There is an image.
    Hit,
    /// It is being built.
    Building,
    /// It failed, and asking again would repeat that.
    Failed,
    /// It would be built.
    Miss,
}

/// How a definition differs from that of a named version, as both are written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// The version that is compared with.
    pub with: EnvironmentId,
    /// Its spec hash.
    pub spec_hash: String,
    /// Whether both are one definition, and so share their images.
    pub same_definition: bool,
    /// Packages that differ.
    pub packages: Vec<PackageChange>,
    /// Variables of the image that differ.
    pub variables: Vec<ValueChange>,
    /// The base, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ValueChange>,
    /// Other fields of the definition that differ, by the names of its canonical form.
    pub fields: Vec<ValueChange>,
}

/// What a refresh would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefreshChange {
    /// Whether the definition is resolved already; if not, everything is new.
    pub resolved_before: bool,
    /// Whether it would resolve to just the same.
    pub same: bool,
    /// Packages that would differ.
    pub packages: Vec<PackageChange>,
    /// The base, where it would differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ValueChange>,
}
