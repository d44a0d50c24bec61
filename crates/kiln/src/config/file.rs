//! The configuration file: TOML, every field optional.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::default_environment::FileDefaultEnvironment;
use super::gc::FileGc;
use super::hooks::FileHooks;
use super::limits::FileLimits;
use super::queue::FileQueue;
use super::tls::FileTls;

/// The file as it is written; the environment is laid over it before anything is parsed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileSettings {
    /// The folder that holds everything kiln keeps.
    pub(crate) data: Option<PathBuf>,
    /// `ADDRESS:PORT` of `kiln serve`.
    pub(crate) listen: Option<String>,
    /// `HOST[/PREFIX]` of images.
    pub(crate) registry: Option<String>,
    /// A PEM bundle trusted beside the system's own.
    pub(crate) extra_ca: Option<PathBuf>,
    /// How registries are spoken to.
    pub(crate) registries: Registries,
    /// Who may do what.
    pub(crate) auth: Auth,
    /// Base images.
    pub(crate) base: Base,
    /// The environment of a build that names none.
    pub(crate) default_environment: FileDefaultEnvironment,
    /// A listener with TLS.
    pub(crate) tls: FileTls,
    /// conda.
    pub(crate) conda: Conda,
    /// PyPI.
    pub(crate) pypi: Pypi,
    /// The docker backend.
    pub(crate) docker: Docker,
    /// Webhooks.
    pub(crate) hooks: FileHooks,
    /// The queue.
    pub(crate) queue: Option<FileQueue>,
    /// Numbers and times.
    pub(crate) limits: FileLimits,
    /// Garbage collection.
    pub(crate) gc: FileGc,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Registries {
    pub(crate) plain_http: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Auth {
    pub(crate) tokens: Vec<FileToken>,
}

/// One token; the file has its SHA-256, never the token itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileToken {
    pub(crate) name: String,
    pub(crate) sha256: String,
    #[serde(default)]
    pub(crate) workspace: Option<String>,
    pub(crate) rights: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Base {
    pub(crate) catalog: Option<PathBuf>,
    pub(crate) cpu: Option<String>,
    pub(crate) gpu: Option<String>,
    pub(crate) mirrors: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Conda {
    pub(crate) channel_alias: Option<String>,
    pub(crate) channel_priority: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Pypi {
    pub(crate) index_url: Option<String>,
    pub(crate) index_strategy: Option<String>,
    pub(crate) uv: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Docker {
    pub(crate) host: Option<String>,
    pub(crate) install_binary: Option<PathBuf>,
}

impl FileSettings {
    /// Reads the file; the fault names file and line.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = fs_err::read_to_string(path).map_err(|error| format!("--config: {error}"))?;
        toml::from_str(&text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text[..span.start].lines().count().max(1));
            let line = if error
                .span()
                .is_some_and(|s| text[..s.start].ends_with('\n'))
            {
                line + 1
            } else {
                line
            };
            format!("{}: line {line}: {}", path.display(), error.message())
        })
    }
}
