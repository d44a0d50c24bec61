//! What a package is linked for: a prefix, its python, limits.

use serde::Serialize;

use crate::limits::Limits;
use crate::path::PrefixPath;

/// The absolute path at which the environment will stand when it is used, wherever it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetPrefix(String);

/// A prefix that kiln doesn't link for.
#[derive(Debug, thiserror::Error)]
#[error(
    "the prefix {0:?} is not usable: it has to be absolute, in shortest form, and made of \
     letters, digits and '/._+-'"
)]
pub struct PrefixError(String);

impl TargetPrefix {
    /// Accepts a path whose text needs no quoting anywhere: in a shebang, a script, a C string.
    pub fn new(text: &str) -> Result<Self, PrefixError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+-".contains(c);
        let safe = text
            .strip_prefix('/')
            .is_some_and(|below| PrefixPath::new(below).is_ok());
        if safe && text.chars().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PrefixError(text.to_owned()))
        }
    }

    /// The text, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How an environment's python came to be; pip puts headers elsewhere in a venv.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum PythonHome {
    /// A conda package in the prefix.
    Conda,
    /// A venv at the prefix.
    Venv,
}

/// The environment's CPython 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PythonTarget {
    /// The `11` of `3.11`.
    pub minor: u32,
    /// The directory of pure and platform libraries.
    pub site_packages: PrefixPath,
    /// How it came to be.
    pub home: PythonHome,
    /// The machine as wheels name it, `x86_64` or `aarch64`.
    pub machine: String,
}

impl PythonTarget {
    /// A CPython 3 of this minor version with its libraries at the usual place.
    pub fn new(minor: u32, home: PythonHome, machine: &str) -> Self {
        let site_packages = PrefixPath::new(&format!("lib/python3.{minor}/site-packages"))
            .expect("the path is in its shortest form");
        Self {
            minor,
            site_packages,
            home,
            machine: machine.to_owned(),
        }
    }

    /// `python3.11`.
    pub fn versioned_name(&self) -> String {
        format!("python3.{}", self.minor)
    }

    /// Where this python keeps the byte-compiled form of a source file.
    pub(crate) fn bytecode_path(&self, source: &str) -> Option<String> {
        let stem = source.strip_suffix(".py")?;
        let (directory, name) = stem.rsplit_once('/').map_or(("", stem), |(d, n)| (d, n));
        let slash = if directory.is_empty() { "" } else { "/" };
        Some(format!(
            "{directory}{slash}__pycache__/{name}.cpython-3{}.pyc",
            self.minor
        ))
    }
}

/// All that decides what a linked package looks like, beside the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Where the environment will stand.
    pub prefix: TargetPrefix,
    /// Its python; without one, packages that need a python are refused.
    pub python: Option<PythonTarget>,
    /// What a package may unpack to.
    pub limits: Limits,
    /// Whether sources will be byte-compiled afterwards: the records of noarch packages and wheels
    /// then name the compiled files, as conda and pip write them.
    pub bytecode: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_needs_no_quoting() {
        assert!(TargetPrefix::new("/opt/kiln/env").is_ok());
        for text in [
            "opt", "/", "/a b", "/a/../b", "/a/", "/a\n", "/a'", "/a$b", "",
        ] {
            assert!(TargetPrefix::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn bytecode_stands_in_the_cache_folder_beside_its_source() {
        let python = PythonTarget::new(11, PythonHome::Venv, "x86_64");
        assert_eq!(
            python.bytecode_path("a/b.py").as_deref(),
            Some("a/__pycache__/b.cpython-311.pyc")
        );
        assert_eq!(
            python.bytecode_path("b.py").as_deref(),
            Some("__pycache__/b.cpython-311.pyc")
        );
        assert_eq!(python.bytecode_path("b.pyx"), None);
    }
}
