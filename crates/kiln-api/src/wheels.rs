//! Bodies of `/v1/wheels`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A private wheel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WheelInfo {
    /// Its file name; its bytes never change.
    pub file_name: String,
    /// The name of its distribution in its normal form (PEP 503).
    pub name: String,
    /// Its version.
    pub version: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Its size.
    pub size_bytes: u64,
    /// The line that asks for it in a pip section.
    pub requirement: String,
    /// The address under which the Azure ML SDK names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Who uploaded it.
    pub actor: String,
    /// Which way: `http`, `sdk`, ...
    pub via: String,
    /// When, RFC 3339.
    pub created: String,
}

/// A page of private wheels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WheelList {
    /// By file name.
    pub value: Vec<WheelInfo>,
    /// The `after` of the next page; null when there is none.
    pub next: Option<String>,
}
