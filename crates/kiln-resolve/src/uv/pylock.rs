//! Reads uv's `pylock.toml` (PEP 751) as far as kiln needs it.

use serde::Deserialize;

/// A lock file.
#[derive(Debug, Deserialize)]
pub(super) struct PyLock {
    #[serde(default)]
    pub(super) packages: Vec<Package>,
}

/// A locked package.
#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: Option<String>,
    #[serde(default)]
    pub(super) wheels: Vec<File>,
    pub(super) archive: Option<File>,
    pub(super) vcs: Option<toml::Table>,
    pub(super) directory: Option<toml::Table>,
}

/// A file of a package.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct File {
    pub(super) name: Option<String>,
    pub(super) url: Option<String>,
    pub(super) path: Option<String>,
    pub(super) size: Option<u64>,
    #[serde(default)]
    pub(super) hashes: Hashes,
}

/// A file's hashes.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Hashes {
    pub(super) sha256: Option<String>,
}

impl File {
    /// The file's name: stated, or the last part of its address.
    pub(super) fn file_name(&self) -> Option<String> {
        if let Some(name) = &self.name {
            return Some(name.clone());
        }
        let address = self.url.as_deref().or(self.path.as_deref())?;
        let address = address.split(['?', '#']).next()?;
        let last = address.rsplit('/').next()?;
        Some(
            last.replace("%2B", "+")
                .replace("%2b", "+")
                .replace("%21", "!"),
        )
    }
}
