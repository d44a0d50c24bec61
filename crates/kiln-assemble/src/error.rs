//! Why an image was not assembled, and what that is as a build's failure.

use std::error::Error;
use std::io;

use kiln_api::{Failure, FailureClass};
use kiln_install::InstallError;
use kiln_layer::{GroupError, TooManyLayers};
use kiln_link::LinkError;
use kiln_oci::Digest;

/// Why a lock was not assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AssembleError {
    /// The lock or one of its packages is at fault.
    #[error(transparent)]
    Install(#[from] InstallError),
    /// A package can't be linked.
    #[error("a package can't be linked")]
    Link(#[from] LinkError),
    /// What layers can't do.
    #[error("{0}")]
    Obstacle(Obstacle),
    /// An archive of the lock is not there.
    #[error("the archive {file} is missing")]
    Missing {
        /// Its name.
        file: String,
    },
    /// An archive is not the lock's.
    #[error("the archive {file} has the digest {found}, the lock has {expected}")]
    Archive {
        /// Its name.
        file: String,
        /// What the lock says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// The base has too many layers.
    #[error(transparent)]
    TooManyLayers(#[from] TooManyLayers),
    /// A group could not be made.
    #[error("packages can't be put together in one layer")]
    Group(#[source] GroupError),
    /// A layer was made anew and is not what it was before.
    #[error("the layer of {package} was {expected} and is {found} when made again")]
    Changed {
        /// The package.
        package: String,
        /// What it was.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// Reading or writing failed.
    #[error("{doing} failed")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What an image of layers alone can't have; a container engine can.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// A Dockerfile of the user's own is the base.
    UserDockerfile,
    /// The base has instructions that run when something is built upon it.
    OnBuild,
    /// The base has a layer of another kind.
    Layer(String),
    /// A package's script has to run.
    Script {
        /// The package.
        package: String,
    },
    /// A package has a file or link where another has a directory.
    Conflict {
        /// Who has the file or link, and its path.
        file: (String, String),
        /// Who has the other, and its path.
        below: (String, String),
    },
    /// The definition asks for what kiln does not build.
    Plan(String),
}

impl std::fmt::Display for Obstacle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::UserDockerfile => f.write_str("the base is a Dockerfile of the definition's own"),
            Self::OnBuild => f.write_str("the base has ONBUILD instructions"),
            Self::Layer(media_type) => write!(f, "the base has a layer of the type {media_type}"),
            Self::Script { package } => write!(f, "the package {package} has a post-link script"),
            Self::Conflict {
                file: (owner, path),
                below: (other, below),
            } => write!(
                f,
                "{path} of {owner} is a file or link, and {other} has {below}"
            ),
            Self::Plan(why) => f.write_str(why),
        }
    }
}

impl AssembleError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// The error as a build's failure.
    pub(crate) fn failure(self) -> Failure {
        match self {
            Self::Io { doing, source } => kiln_engine::failure::of_io(doing, &source),
            Self::Group(GroupError::Io(source)) => {
                kiln_engine::failure::of_io("a layer of several packages", &source)
            }
            Self::Install(error) => {
                let class = class(error.class());
                Failure::new(class, error.chain(), remedy(class))
            }
            Self::Link(error) => Self::Install(InstallError::Link(error)).failure(),
            other => {
                let class = match other {
                    Self::Obstacle(_) | Self::TooManyLayers(_) => FailureClass::Invalid,
                    _ => FailureClass::Integrity,
                };
                Failure::new(class, chain(&other), other.remedy())
            }
        }
    }

    fn remedy(&self) -> &'static str {
        match self {
            Self::Obstacle(_) => "use the docker backend, or leave out what stands in the way",
            Self::TooManyLayers(_) => "use a base with fewer layers, or the docker backend",
            _ => remedy(FailureClass::Integrity),
        }
    }
}

fn class(name: &str) -> FailureClass {
    match name {
        "invalid" => FailureClass::Invalid,
        "not_found" => FailureClass::NotFound,
        "integrity" => FailureClass::Integrity,
        "disk" => FailureClass::Disk,
        _ => FailureClass::Internal,
    }
}

fn remedy(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Invalid => {
            "change the environment so that it doesn't need the package, or take another version"
        }
        FailureClass::Integrity => {
            "ask again; if it stays so, the package itself is damaged: take another version"
        }
        FailureClass::Disk => "free space on the disk of kiln's data folder, then ask again",
        _ => "ask again; if it stays so, see kiln's log",
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
