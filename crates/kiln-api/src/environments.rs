//! Bodies of `/v1/environments`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A named version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentId {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

/// A version of an environment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Environment {
    /// The name.
    pub name: String,
    /// The version; it never changes.
    pub version: String,
    /// Whether it is the newest that is not archived.
    pub latest: bool,
    /// Labels that somebody set.
    pub labels: Vec<String>,
    /// Whether kiln ships it: every workspace reads it, nobody changes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub curated: bool,
    /// Whether it, or its whole name, is archived: neither listed nor `latest`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// What its document is: `azureml`, `conda` or `requirements`.
    pub kind: String,
    /// The identity of its definition; all versions that share it share its images.
    pub spec_hash: String,
    /// `azureml/azureml_<first 32 hex digits of spec_hash>`.
    pub image_name: String,
    /// The generation of the definition's image that it was first built as.
    pub generation: Option<u64>,
    /// Who made it.
    pub actor: String,
    /// Which way: `http`, `cli`, `sdk`, ...
    pub via: String,
    /// When it was made, RFC 3339; empty for a curated one.
    pub created: String,
    /// The environment as the Azure ML SDK reads it; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub document: Option<Box<serde_json::value::RawValue>>,
    /// The text as it came, without credentials; not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Files that the text includes, by relative path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
}

/// A page of environments.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentList {
    /// Of names: by name, the newest version of each. Of versions: newest first.
    pub value: Vec<Environment>,
    /// The `after` or `before` of the next page; null when there is none.
    pub next: Option<String>,
}

/// The body of `PUT /v1/environments/{name}`: exactly one of `environment`, `conda`, `requirements` is
/// given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// An Azure ML environment as the SDK serialises it; name and version in it are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub environment: Option<Box<serde_json::value::RawValue>>,
    /// The text of a conda `environment.yml`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conda: Option<String>,
    /// The text of a pip `requirements.txt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// The version; the next number when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The base image, in place of the document's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// Asks for the GPU default base when none is given.
    #[serde(default)]
    pub gpu: bool,
    /// `os/arch[/variant]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// Files that the document includes, text by relative path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Whether it was made from what is installed somewhere.
    #[serde(default)]
    pub imported: bool,
}

/// The body of `POST /v1/environments/{name}/labels`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelRequest {
    /// The version that gets the labels.
    pub version: String,
    /// The labels; one that another version has moves.
    pub labels: Vec<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// The body of `POST /v1/environments/{name}/archive` and `/restore`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ArchiveRequest {
    /// The version; the whole name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// The body of `POST /v1/environments/{name}/rollback`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// The version whose document becomes the newest again.
    pub version: String,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// The body of `POST /v1/environments/{name}/packages`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPackagesRequest {
    /// conda packages; one of the same name gives way.
    #[serde(default)]
    pub conda: Vec<String>,
    /// pip requirements; one of the same name gives way.
    #[serde(default)]
    pub pip: Vec<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// The body of `POST /v1/environments/{name}/clone`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloneRequest {
    /// The new name.
    pub name: String,
    /// The workspace of the new name; that of the old one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_workspace: Option<String>,
    /// The version or `latest`, which it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// What was done to an environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// Rises with time.
    pub id: i64,
    /// `registered`, `built`, `imported`, `cloned`, `rolled_back`, `labelled`, `unlabelled`, `archived`
    /// or `restored`.
    pub action: String,
    /// The version; null is the whole name.
    pub version: Option<String>,
    /// What else is to be said, for example the labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Who.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When, RFC 3339.
    pub time: String,
}

/// A page of an environment's history, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryList {
    /// The entries of this page.
    pub value: Vec<HistoryEntry>,
    /// The `before` of the next page; null when there is none.
    pub next: Option<i64>,
}

/// How two versions differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnvironmentDiff {
    /// The one that is compared with.
    pub from: EnvironmentId,
    /// The one that is compared.
    pub to: EnvironmentId,
    /// Whether the documents are equal.
    pub same_document: bool,
    /// Whether they are one definition, and so share their images.
    pub same_definition: bool,
    /// Whether they resolved to the same packages; null while one of them is not resolved.
    pub same_lock: Option<bool>,
    /// `locks` where both are resolved, else `specifications`.
    pub packages_of: String,
    /// Packages that differ.
    pub packages: Vec<PackageChange>,
    /// Variables of the image that differ.
    pub variables: Vec<ValueChange>,
    /// The base, where it differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<ValueChange>,
    /// Other fields of the definition that differ.
    pub fields: Vec<ValueChange>,
    /// The compressed sizes of the images in bytes; null while one of them is not built.
    pub sizes: Option<SizeChange>,
    /// The layers of the images; null while one of them is not built or the registry does not tell.
    pub layers: Option<LayerChange>,
}

/// A package that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackageChange {
    /// `conda` or `pip`.
    pub manager: String,
    /// The name.
    pub name: String,
    /// Version and build, or what is asked for; null where it is new.
    pub from: Option<String>,
    /// As `from`; null where it is gone.
    pub to: Option<String>,
}

/// A value that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ValueChange {
    /// The field or variable.
    pub name: String,
    /// Null where it is new.
    pub from: Option<String>,
    /// Null where it is gone.
    pub to: Option<String>,
}

/// Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SizeChange {
    /// Of the one that is compared with.
    pub from: u64,
    /// Of the one that is compared.
    pub to: u64,
}

/// How many layers, and how many bytes, two images share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LayerChange {
    /// Layers that both have.
    pub shared: u64,
    /// Their bytes.
    pub shared_bytes: u64,
    /// Layers that only the new one has.
    pub added: u64,
    /// Their bytes.
    pub added_bytes: u64,
    /// Layers that only the old one has.
    pub removed: u64,
    /// Their bytes.
    pub removed_bytes: u64,
}

/// The body of `POST /v1/environments/{name}/reproduce`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReproduceRequest {
    /// The version or `latest`, which it is when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The workspace; `default` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
}

/// A version's image that was made again from its recorded lock, and what agrees.
///
/// What is installed in the new image was compared with the lock before this is answered: a difference
/// is a failure of the class `integrity`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reproduction {
    /// The version.
    pub environment: EnvironmentId,
    /// The identity of its definition.
    pub spec_hash: String,
    /// The generation that is recorded for the version.
    pub generation: u64,
    /// The backend that built both.
    pub backend: String,
    /// Whether the new image says the lock that is recorded.
    pub same_lock: bool,
    /// Whether both are the same bytes. The backend `docker` dates files, so there it is false as a rule.
    pub same_digest: bool,
    /// How many packages the lock has; all were found installed in the new image.
    pub packages: u64,
    /// What is recorded.
    pub recorded: ReproductionSide,
    /// Whether the registry still has the recorded image.
    pub recorded_is_there: bool,
    /// What was built now; it has no tag.
    pub built: ReproductionSide,
    /// The layers of the two; null while the recorded image is gone.
    pub layers: Option<LayerChange>,
}

/// One of two images of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReproductionSide {
    /// `HOST[/PREFIX]/azureml/azureml_<hash>@sha256:...`.
    pub image: String,
    /// The lock's hash.
    pub lock_hash: String,
    /// The sum of its blobs' compressed sizes in bytes.
    pub size_bytes: u64,
}
