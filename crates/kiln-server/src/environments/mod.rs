//! `/v1/environments`: named environments of a workspace.

mod change;
mod read;
mod register;
mod reproduce;
mod shown;

pub(crate) use change::*;
pub(crate) use read::*;
pub(crate) use register::*;
pub(crate) use reproduce::*;
pub(crate) use shown::date;

use kiln_engine::{Origin, Scope};
use kiln_spec::{EnvironmentName, EnvironmentVersion, LATEST, NameError, Which};

use crate::access::{Caller, Right};
use crate::error::ApiError;

/// The workspace of a request, if the caller may do this in it.
pub(crate) fn scope(
    caller: &Caller,
    right: Right,
    workspace: Option<&str>,
) -> Result<Scope, ApiError> {
    let workspace = workspace.unwrap_or("default");
    caller.require(right, workspace)?;
    workspace
        .parse()
        .map_err(|_| ApiError::not_found(format!("there is no workspace `{workspace}`")))
}

fn origin(caller: &Caller) -> Origin {
    Origin {
        actor: caller.name.clone(),
        via: "http".into(),
    }
}

fn invalid(error: &NameError) -> ApiError {
    ApiError::invalid(error.to_string(), error.rule())
}

pub(crate) fn name(text: &str) -> Result<EnvironmentName, ApiError> {
    text.parse().map_err(|error| invalid(&error))
}

fn version(text: &str) -> Result<EnvironmentVersion, ApiError> {
    text.parse().map_err(|error| invalid(&error))
}

/// A version, or `latest`, which it is where nothing is said.
pub(crate) fn which(text: Option<&str>) -> Result<Which, ApiError> {
    match text {
        None | Some(LATEST) => Ok(Which::Latest),
        Some(text) => version(text).map(Which::Version),
    }
}
