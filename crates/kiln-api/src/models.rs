//! Bodies of `/v1/models`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Model {
    /// The name.
    pub name: String,
    /// The version, from 1.
    pub version: u32,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Properties.
    pub properties: BTreeMap<String, String>,
    /// The run whose output it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// The bytes of all its files.
    pub size_bytes: u64,
    /// Its files, by path; not in lists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ModelFileInfo>,
    /// Who made it.
    pub actor: String,
    /// Which way: `http`, `sdk`, ...
    pub via: String,
    /// When it was made, RFC 3339.
    pub created: String,
}

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelFileInfo {
    /// Where it is below the model's folder.
    pub path: String,
    /// `sha256:` and 64 hex digits.
    pub digest: String,
    /// Its size.
    pub size_bytes: u64,
}

/// A page of models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelList {
    /// By name, of each name the newest first.
    pub value: Vec<Model>,
    /// The `after` of the next page, `NAME:VERSION`; null when there is none.
    pub next: Option<String>,
}
