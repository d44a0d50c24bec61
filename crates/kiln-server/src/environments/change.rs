//! Labels and the archive.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use kiln_api::{ArchiveRequest, LabelRequest};
use kiln_engine::Archived;
use serde::Deserialize;

use super::{invalid, name, origin, scope, version};
use crate::access::{Caller, Right};
use crate::body::read;
use crate::error::ApiError;
use crate::router::AppState;

/// Which workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct ScopeQuery {
    workspace: Option<String>,
}

/// Sets labels on a version; a label that another version has moves.
#[utoipa::path(post, path = "/v1/environments/{name}/labels", params(("name" = String, Path,)),
request_body = LabelRequest, responses(
    (status = 204, description = "They are set"),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn label(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let request: LabelRequest = read(&body)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let labels = request.labels.iter().map(|label| label.parse());
    let labels: Vec<_> = labels
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(&error))?;
    let version = version(&request.version)?;
    state
        .engine
        .label_environment(&scope, &name(&named)?, &version, &labels, &origin(&caller))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a label away.
#[utoipa::path(delete, path = "/v1/environments/{name}/labels/{label}", params(
    ("name" = String, Path,),
    ("label" = String, Path,),
    ("workspace" = Option<String>, Query,),
), responses(
    (status = 204, description = "It is gone"),
    (status = 404, description = "There is no such label"),
))]
pub(crate) async fn unlabel(
    State(state): State<AppState>,
    caller: Caller,
    Path((named, label)): Path<(String, String)>,
    Query(query): Query<ScopeQuery>,
) -> Result<StatusCode, ApiError> {
    let scope = scope(&caller, Right::Build, query.workspace.as_deref())?;
    let label = label.parse().map_err(|error| invalid(&error))?;
    state
        .engine
        .unlabel_environment(&scope, &name(&named)?, &label, &origin(&caller))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Archives a version, or the whole name: it is neither listed nor `latest`; who names it still gets it.
#[utoipa::path(post, path = "/v1/environments/{name}/archive", params(("name" = String, Path,)),
request_body = ArchiveRequest, responses(
    (status = 204, description = "It is archived"),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn archive(
    state: State<AppState>,
    caller: Caller,
    name: Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    set(state, caller, name, body, Archived::Yes).await
}

/// Takes a version, or the whole name, back from the archive.
#[utoipa::path(post, path = "/v1/environments/{name}/restore", params(("name" = String, Path,)),
request_body = ArchiveRequest, responses(
    (status = 204, description = "It is back"),
    (status = 404, description = "There is no such environment"),
))]
pub(crate) async fn restore(
    state: State<AppState>,
    caller: Caller,
    name: Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    set(state, caller, name, body, Archived::No).await
}

async fn set(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
    archived: Archived,
) -> Result<StatusCode, ApiError> {
    let request: ArchiveRequest = read(&body)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let version = request.version.as_deref().map(version).transpose()?;
    state
        .engine
        .archive_environment(
            &scope,
            &name(&named)?,
            version.as_ref(),
            archived,
            &origin(&caller),
        )
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
