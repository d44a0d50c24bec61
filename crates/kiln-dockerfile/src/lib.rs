//! Generates a Dockerfile and its build context from a definition, its lock and base facts.
//!
//! [`plan`] is pure: it reads and writes nothing. A value of the user reaches an instruction in three
//! forms only: `FROM` a parsed reference with a digest, `ENV NAME="value"` by one quoting function, and
//! the user's own Dockerfile, built unedited as an image of its own. All else are constants, hex digits,
//! exec-form JSON and files of the context.
//!
//! # Ways to install
//!
//! | [`Tool`] | when | prefix | needs network |
//! |---|---|---|---|
//! | `CondaEnvCreate` | conda packages, base with conda | `/azureml-envs/azureml_<hash>` | no |
//! | `KilnInstall` | all else that installs something | `/opt/kiln/env` | no |
//! | `Layers` | [`Installer::Layers`]: nothing runs, the plan is for variables and links | `/opt/kiln/env` | no |
//! | `Conda`, `Micromamba`, `Pip` | [`Installer::Micromamba`], for ejected folders | as above | yes |
//! | `Nothing` | user-managed, or nothing was asked for | none | no |
//!
//! `CondaEnvCreate` is Azure ML's own step. Its channels are folders of the build context that hold the
//! locked packages and nothing else, so that conda installs the lock and cannot choose; it needs neither
//! the network nor credentials, and is not slowed by a channel's index. The archives are compared with
//! the lock's SHA-256 first, because conda checks no hash of a `file:` channel, and afterwards the records in
//! `conda-meta` get their true addresses back. Wheels come from a folder too, with `--no-index`,
//! `--no-deps` and `--require-hashes`; where the lock has no pip package, `kiln-install` brings them.
//!
//! Archives are in the context and credentials are not needed: kiln fetched them before. Secret mounts are
//! for [`Installer::Micromamba`], which fetches in the build (`netrc`), and for an extra certificate
//! authority, which a post-link script may want too. The plan for `Tool::Micromamba` is written after
//! micromamba's documentation; the project's tests can't run it, because its image is not within their
//! reach. Those for `Tool::Conda` and `Tool::Pip` were run.
//!
//! # The environment of a step
//!
//! A step never sees the definition's variables: their `ENV` comes after the last `RUN`. conda and pip
//! run under `env -i` with the base's `PATH`, so that settings of the base (`PIP_*`, `CONDA_*`,
//! `PYTHONPATH`) don't change what is installed. `kiln-install` reads no variable.

mod ast;
mod base;
mod check;
mod conda;
mod context;
mod error;
mod folder;
mod inferencing;
mod kiln_install;
mod local_images;
mod plain;
mod plan;
mod quote;
mod steps;
mod user_dockerfile;
mod variables;

pub use ast::{Dockerfile, Instruction, Mount};
pub use base::{BaseImage, user_image_name};
pub use context::{Content, ContextFile, Sources, write_tar};
pub use error::PlanError;
pub use folder::install_folder;
pub use local_images::LocalImages;
pub use plan::{Installer, Plan, PlanInput, SecretMount, Tool, plan};
pub use quote::{EnvName, EnvValue, Part};
pub use user_dockerfile::{UserContext, UserDockerfile, UserDockerfileError};

/// The id of the secret that holds certificate authorities to trust beside the base's own, as a PEM
/// bundle; a user's own Dockerfile may mount it too.
pub const EXTRA_CA_SECRET: &str = "kiln-ca";

/// The prefix of an environment that kiln's own installer makes.
pub const KILN_PREFIX: &str = "/opt/kiln/env";

/// The folder under which Azure ML's environments lie, each as `azureml_<hash>`.
pub const AZUREML_ENVS: &str = "/azureml-envs";
