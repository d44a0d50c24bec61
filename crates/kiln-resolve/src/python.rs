//! Which python an environment has.

use kiln_lock::{BaseFacts, CondaPackage, Interpreter, LockedPython, PythonSource};

/// Why an environment has no python.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PythonError {
    /// The base has none.
    #[error(
        "the pip section needs a python: the definition asks none of conda, and the base image has none"
    )]
    Missing,
    /// The base's python can't make a venv.
    #[error(
        "the base image's python {version} can't make an environment: its `venv` module is missing"
    )]
    NoVenv {
        /// The interpreter's version.
        version: String,
    },
    /// Nothing is known of the base.
    #[error(
        "the pip section needs a python, and what the base Dockerfile brings is not known before it is built"
    )]
    Unknown,
}

impl PythonError {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::NoVenv { .. } => "add the venv module to the base (python3-venv on Debian and Ubuntu), or add a conda dependency such as `python=3.11`".into(),
            _ => "add a conda dependency such as `python=3.11`, or choose a base image with python 3 and its venv module".into(),
        }
    }
}

/// The python among conda packages.
pub(crate) fn of_channel(packages: &[CondaPackage]) -> Option<LockedPython> {
    packages
        .iter()
        .find(|package| package.name == "python")
        .map(|package| LockedPython {
            version: package.version.clone(),
            source: PythonSource::Channel,
        })
}

/// The base's newest python that can make a venv.
pub(crate) fn of_base(facts: &BaseFacts) -> Result<LockedPython, PythonError> {
    let usable = |python: &&Interpreter| python.has_venv;
    match (facts.pythons.iter().find(usable), facts.pythons.first()) {
        (Some(python), _) => Ok(LockedPython {
            version: python.version.clone(),
            source: PythonSource::Base {
                interpreter: python.path.clone(),
            },
        }),
        (None, Some(python)) => Err(PythonError::NoVenv {
            version: python.version.clone(),
        }),
        (None, None) => Err(PythonError::Missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(version: &str, has_venv: bool) -> Interpreter {
        Interpreter {
            path: format!("/usr/bin/python{version}"),
            version: version.into(),
            has_venv,
        }
    }

    #[test]
    fn the_newest_python_with_a_venv_module_is_taken() {
        let facts = BaseFacts {
            pythons: vec![
                python("3.12", false),
                python("3.11", true),
                python("3.9", true),
            ],
            ..BaseFacts::default()
        };
        assert_eq!(
            of_base(&facts).map(|python| python.version),
            Ok("3.11".into())
        );
        let without = BaseFacts {
            pythons: vec![python("3.12", false)],
            ..BaseFacts::default()
        };
        assert_eq!(
            of_base(&without),
            Err(PythonError::NoVenv {
                version: "3.12".into()
            })
        );
        assert_eq!(of_base(&BaseFacts::default()), Err(PythonError::Missing));
    }
}
