//! Models.

use std::collections::BTreeMap;

use kiln_oci::Digest;

use crate::model_names::{FilePath, ModelName};

/// A file of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFile {
    /// Where it is below the model's folder.
    pub path: FilePath,
    /// Its content, a blob.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
}

/// What is said of a model and may be said anew.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelNotes {
    /// What it is.
    pub description: Option<String>,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Properties; they are never taken away.
    pub properties: BTreeMap<String, String>,
}

/// A version of a model to register.
#[derive(Debug, Clone)]
pub struct NewModel {
    /// Its name.
    pub name: ModelName,
    /// Its files, by path; each is a blob that is there.
    pub files: Vec<ModelFile>,
    /// What is said of it.
    pub notes: ModelNotes,
    /// The run whose output it is.
    pub run_id: Option<String>,
    /// That run's experiment.
    pub experiment: Option<String>,
    /// What else its client says of it, a JSON object.
    pub details: String,
    /// Who.
    pub actor: String,
    /// Which way: `http`, `sdk`, ...
    pub via: String,
}

/// A version of a model; its files never change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    /// Its name.
    pub name: ModelName,
    /// Its version, from 1; none is used twice.
    pub version: u32,
    /// Its files, by path.
    pub files: Vec<ModelFile>,
    /// What is said of it.
    pub notes: ModelNotes,
    /// The run whose output it is.
    pub run_id: Option<String>,
    /// That run's experiment.
    pub experiment: Option<String>,
    /// What else its client says of it, a JSON object.
    pub details: String,
    /// Who made it.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When what is said of it was said, milliseconds since the Unix epoch.
    pub changed_ms: i64,
}

/// Which models are listed.
#[derive(Debug, Clone, Default)]
pub struct ModelFilter {
    /// Of this name alone.
    pub name: Option<ModelName>,
    /// Of this run alone.
    pub run_id: Option<String>,
    /// The newest version of each name alone.
    pub latest: bool,
    /// Beginning after this one.
    pub after: Option<(ModelName, u32)>,
    /// At most so many.
    pub limit: u32,
}
