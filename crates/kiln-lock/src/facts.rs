//! What kiln knows of a base image, read from its layers and configuration without running it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Facts about one platform image, keyed by its manifest digest and therefore true for ever.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// `ID` of `/etc/os-release`, for example `debian`.
    pub os_id: Option<String>,
    /// `VERSION_ID` of `/etc/os-release`, for example `12`.
    pub os_version: Option<String>,
    /// The C library's version when it is glibc, for example `2.36`.
    pub glibc: Option<String>,
    /// The CUDA version the image is made for, `major.minor`, for example `12.4`.
    pub cuda: Option<String>,
    /// Python interpreters outside any conda installation, newest first.
    pub pythons: Vec<Interpreter>,
    /// The conda installation on the image's `PATH`.
    pub conda: Option<CondaInstall>,
    /// Whether `/bin/sh` exists, which a build step needs.
    pub shell: bool,
    /// Whether `/bin/bash` exists.
    pub bash: bool,
    /// The configuration's `Env`, by name.
    pub env: BTreeMap<String, String>,
    /// The configuration's `User`; empty is root.
    pub user: String,
}

/// A python interpreter of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Absolute path inside the image, for example `/usr/bin/python3.11`.
    pub path: String,
    /// `major.minor` or the full version where the image tells it, for example `3.11.2`.
    pub version: String,
    /// Whether its `venv` and `ensurepip`-free parts of the standard library are there.
    pub has_venv: bool,
}

/// A conda installation of a base image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CondaInstall {
    /// The installation's root, for example `/opt/miniconda`.
    pub root: String,
    /// conda's own version where the image tells it.
    pub version: Option<String>,
}

impl BaseFacts {
    /// The directories of the image's `PATH`, in order.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.env
            .get("PATH")
            .map(String::as_str)
            .unwrap_or_default()
            .split(':')
            .filter(|d| !d.is_empty())
    }

    /// The interpreter whose version starts with `major.minor`.
    pub fn python(&self, minor: &str) -> Option<&Interpreter> {
        self.pythons.iter().find(|python| {
            python
                .version
                .strip_prefix(minor)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    }
}
