//! Versions are made.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use kiln_api::{AddPackagesRequest, CloneRequest, Environment, RegisterRequest, RollbackRequest};
use kiln_engine::{Action, EngineError, NewVersion, RegisteredVersion};
use kiln_spec::{Input, Kind, Overrides};

use super::{name, origin, scope, shown, version, which};
use crate::access::{Caller, Right};
use crate::body::read;
use crate::error::ApiError;
use crate::router::AppState;

fn answer(registered: &RegisteredVersion) -> (StatusCode, Json<Environment>) {
    let status = if registered.is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    (status, Json(shown::whole(&registered.row)))
}

/// Registers an environment. Without a version it is the next number, and nothing happens where the
/// document equals the newest version's.
#[utoipa::path(put, path = "/v1/environments/{name}", params(("name" = String, Path,)),
request_body = RegisterRequest, responses(
    (status = 200, description = "An equal version is there", body = Environment),
    (status = 201, description = "The new version", body = Environment),
    (status = 400, description = "The document or the name is not valid, or reserved for curated ones"),
    (status = 409, description = "The version is there with another document"),
))]
pub(crate) async fn register(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Environment>), ApiError> {
    let request: RegisterRequest = read(&body)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let mut new = NewVersion::registered(
        name(&named)?,
        request.version.as_deref().map(version).transpose()?,
    );
    if request.imported {
        new.action = Action::Imported;
    }
    let documents = [
        request
            .environment
            .map(|raw| (raw.get().to_owned(), Kind::AzureMl, "environment")),
        request.conda.map(|text| (text, Kind::Conda, "conda")),
        request
            .requirements
            .map(|text| (text, Kind::Requirements, "requirements")),
    ];
    let mut documents = documents.into_iter().flatten();
    let (Some((text, kind, field)), None) = (documents.next(), documents.next()) else {
        return Err(ApiError::from(EngineError::Invalid {
            message: "the request names no environment, or more than one".into(),
            remedy: "give exactly one of `environment`, `conda`, `requirements`".into(),
        }));
    };
    let overrides = Overrides {
        base: request.base,
        gpu: request.gpu,
        platform: request.platform,
    };
    let input = Input {
        file_name: field,
        bytes: text.as_bytes(),
        kind: Some(kind),
        files: &request.files,
        overrides: &overrides,
    };
    let registered = state
        .engine
        .register_environment(&scope, &new, &input, &origin(&caller))
        .await?;
    Ok(answer(&registered))
}

/// Makes a version of the newest with more packages.
#[utoipa::path(post, path = "/v1/environments/{name}/packages", params(("name" = String, Path,)),
request_body = AddPackagesRequest, responses(
    (status = 200, description = "The newest version has them already", body = Environment),
    (status = 201, description = "The new version", body = Environment),
    (status = 400, description = "The environment's packages are not its own, or a package is not valid"),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn add_packages(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Environment>), ApiError> {
    let request: AddPackagesRequest = read(&body)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let (conda, pip) = (&request.conda, &request.pip);
    let registered = state
        .engine
        .add_to_environment(&scope, &name(&named)?, conda, pip, &origin(&caller))
        .await?;
    Ok(answer(&registered))
}

/// Makes a version with the document of an older one.
#[utoipa::path(post, path = "/v1/environments/{name}/rollback", params(("name" = String, Path,)),
request_body = RollbackRequest, responses(
    (status = 200, description = "The newest version is equal already", body = Environment),
    (status = 201, description = "The new version", body = Environment),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn rollback(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Environment>), ApiError> {
    let request: RollbackRequest = read(&body)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let to = version(&request.version)?;
    let registered = state
        .engine
        .rollback_environment(&scope, &name(&named)?, &to, &origin(&caller))
        .await?;
    Ok(answer(&registered))
}

/// Makes a version of another name, or in another workspace, with the document of this one.
#[utoipa::path(post, path = "/v1/environments/{name}/clone", params(("name" = String, Path,)),
request_body = CloneRequest, responses(
    (status = 200, description = "The newest version of that name is equal already", body = Environment),
    (status = 201, description = "The new version", body = Environment),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn clone(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Environment>), ApiError> {
    let request: CloneRequest = read(&body)?;
    let workspace = request.workspace.as_deref();
    let from = scope(&caller, Right::Read, workspace)?;
    let to = request.to_workspace.as_deref().or(workspace);
    let to = scope(&caller, Right::Build, to)?;
    let which = which(request.version.as_deref())?;
    let row = state
        .engine
        .environment(&from, &name(&named)?, &which)
        .await?;
    let new_name = name(&request.name)?;
    let registered = state
        .engine
        .clone_environment(&from, &row, &to, &new_name, &origin(&caller))
        .await?;
    Ok(answer(&registered))
}
