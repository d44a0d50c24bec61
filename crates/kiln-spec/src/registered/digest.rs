//! When two documents are the same environment to a registry of them.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};

use super::sections::Section;
use crate::document::{Entry, Node, Value};

/// The separator and version of what is hashed.
const FORMAT_PREFIX: &[u8] = b"kiln-document-v1\0";

/// The identity of a whole document: every section counts, but not name, version, asset id and secrets.
///
/// A field that is absent, null, empty or has the SDK's default is the same as one that is not there,
/// since the SDK writes out what a document left out. Two fields are not sent by every release:
/// a document without them equals one with them, see [`Self::equals`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentDigest {
    /// Of all other sections, 64 hex digits.
    core: String,
    /// `docker.gpuSupport`, which newer releases leave out.
    gpu_support: Option<bool>,
    /// The Databricks section, which no release registers: its digest, or empty where it asks for
    /// nothing.
    databricks: Option<String>,
}

/// A text that is no document's digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no digest of a document")]
pub struct ParseDocumentDigestError(String);

impl DocumentDigest {
    /// The digest of an environment in the SDK's spelling.
    pub(super) fn of(environment: &Node) -> Self {
        let docker = environment.field("docker").map(|entry| &entry.value);
        let gpu = docker.and_then(|docker| docker.field("gpuSupport"));
        let databricks = environment.field("databricks");
        let databricks = databricks.filter(|entry| !entry.value.is_null());
        Self {
            core: hash(reduced(environment, Section::Environment).as_ref()),
            gpu_support: gpu
                .and_then(|entry| entry.value.scalar())
                .map(|text| text == "true"),
            databricks: databricks.map(|entry| {
                reduced(&entry.value, Section::Databricks)
                    .map_or(String::new(), |node| hash(Some(&node)))
            }),
        }
    }

    /// Whether a document with this digest, sent now, is the one that was kept with `stored`.
    pub fn equals(&self, stored: &Self) -> bool {
        let gpu = self.gpu_support;
        let databricks = self.databricks.as_deref();
        self.core == stored.core
            && gpu.is_none_or(|gpu| gpu == stored.gpu_support.unwrap_or(false))
            && databricks
                .is_none_or(|sent| sent == stored.databricks.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for DocumentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.core)?;
        if let Some(gpu) = self.gpu_support {
            write!(f, ";gpu={gpu}")?;
        }
        if let Some(databricks) = &self.databricks {
            write!(f, ";databricks={databricks}")?;
        }
        Ok(())
    }
}

impl FromStr for DocumentDigest {
    type Err = ParseDocumentDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fault = || ParseDocumentDigestError(text.chars().take(200).collect());
        let is_hash = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let mut parts = text.split(';');
        let core = parts
            .next()
            .filter(|core| is_hash(core))
            .ok_or_else(fault)?;
        let mut digest = Self {
            core: core.to_owned(),
            gpu_support: None,
            databricks: None,
        };
        for part in parts {
            match part.split_once('=') {
                Some(("gpu", gpu)) => {
                    digest.gpu_support = Some(gpu.parse().map_err(|_| fault())?);
                }
                Some(("databricks", hash)) if hash.is_empty() || is_hash(hash) => {
                    digest.databricks = Some(hash.to_owned());
                }
                _ => return Err(fault()),
            }
        }
        Ok(digest)
    }
}

fn hash(node: Option<&Node>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(FORMAT_PREFIX);
    if let Some(node) = node {
        hasher.update(node.to_sorted_json());
    }
    hex::encode(hasher.finalize())
}

/// What a tree says beyond the SDK's defaults; none when it says nothing.
fn reduced(node: &Node, section: Section) -> Option<Node> {
    let value = match &node.value {
        _ if node.is_null() => return None,
        Value::List(items) if items.is_empty() => return None,
        Value::Map(entries) if entries.is_empty() => return None,
        _ if section == Section::Free => return Some(node.clone()),
        Value::List(items) => Value::List(
            items
                .iter()
                .map(|item| reduced(item, section).unwrap_or_else(|| item.clone()))
                .collect(),
        ),
        Value::Map(entries) => {
            let said: Vec<Entry> = entries
                .iter()
                .filter(|entry| counts(section, &entry.key))
                .filter_map(|entry| field(section, entry))
                .collect();
            if said.is_empty() {
                return None;
            }
            Value::Map(said)
        }
        scalar @ Value::Scalar(..) => scalar.clone(),
    };
    Some(Node {
        line: node.line,
        value,
    })
}

fn field(section: Section, entry: &Entry) -> Option<Entry> {
    let (_, child) = section.field(&entry.key);
    let mut value = reduced(&entry.value, child)?;
    let any_case = section == Section::Platform
        || (section == Section::Context && entry.key == "locationType");
    if let Value::Scalar(text, _) = &mut value.value {
        if any_case {
            text.make_ascii_lowercase();
        }
        if is_default(section, &entry.key, text) {
            return None;
        }
    }
    Some(Entry {
        value,
        ..entry.clone()
    })
}

/// Whether a field is part of the comparison.
fn counts(section: Section, key: &str) -> bool {
    let not: &[&str] = match section {
        Section::Environment => &["name", "version", "assetId", "databricks"],
        Section::Docker => &["gpuSupport"],
        Section::Registry => &["password"],
        Section::GitHub => &["authToken"],
        _ => &[],
    };
    !not.contains(&key)
}

/// Whether a field has the value that the SDK gives it where a document leaves it out.
fn is_default(section: Section, key: &str, value: &str) -> bool {
    const DEFAULTS: [(Section, &str, &str); 9] = [
        (Section::Python, "userManagedDependencies", "false"),
        (Section::Python, "interpreterPath", "python"),
        (Section::Docker, "enabled", "false"),
        (Section::Docker, "sharedVolumes", "true"),
        (Section::Platform, "os", "linux"),
        (Section::Platform, "architecture", "amd64"),
        (Section::Spark, "precachePackages", "true"),
        (Section::Context, "dockerfilePath", "Dockerfile"),
        (Section::R, "userManaged", "false"),
    ];
    DEFAULTS.contains(&(section, key, value))
}
