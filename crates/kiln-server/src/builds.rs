//! `/v1/builds`: get-or-create, look at, cancel.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kiln_api::{BuildList, BuildRequest, BuildState, BuildStatus, Defaults};
use kiln_engine::{Origin, Submission};
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::error::ApiError;
use crate::router::AppState;

/// The longest a request may wait for its build.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// Builds a page of the list holds at most.
const PAGE_LIMIT: u32 = 200;

/// Gets the image of an environment, building it when there is none.
#[utoipa::path(post, path = "/v1/builds", request_body = BuildRequest, responses(
    (status = 200, description = "READY or FAILED is known", body = BuildStatus),
    (status = 202, description = "The build goes on; `Location` tells where", body = BuildStatus),
    (status = 400, description = "The input is at fault"),
    (status = 401, description = "No valid token"),
    (status = 503, description = "The server takes no work now"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    body: Result<Json<BuildRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let Json(request) = body.map_err(|rejection| {
        ApiError::invalid(
            rejection.body_text(),
            "send JSON as /v1/openapi.json describes it",
        )
    })?;
    let workspace = request
        .workspace
        .clone()
        .unwrap_or_else(|| "default".into());
    caller.require(Right::Build, &workspace)?;
    let wait = Duration::from_secs(request.wait).min(LONGEST_WAIT);
    let origin = Origin {
        actor: caller.name.clone(),
        via: "http".into(),
    };
    let submission = Submission::from_request(request, origin)?;
    let ticket = state.engine.submit(submission).await?;
    let status = ticket.wait(wait).await;
    Ok(respond(status))
}

/// Tells where a build is.
#[utoipa::path(get, path = "/v1/builds/{id}", params(("id" = String, Path,)), responses(
    (status = 200, description = "The build", body = BuildStatus),
    (status = 404, description = "There is no such build"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BuildStatus>, ApiError> {
    let (workspace, status) = find(&state, &id).await?;
    caller
        .require(Right::Read, &workspace)
        .map_err(|_| no_build(&id))?;
    Ok(Json(status))
}

/// Cancels a build that is not over.
#[utoipa::path(delete, path = "/v1/builds/{id}", params(("id" = String, Path,)), responses(
    (status = 200, description = "The build is over, by this or before", body = BuildStatus),
    (status = 404, description = "There is no such build"),
))]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<BuildStatus>, ApiError> {
    let (workspace, _) = find(&state, &id).await?;
    caller
        .require(Right::Read, &workspace)
        .map_err(|_| no_build(&id))?;
    caller.require(Right::Build, &workspace)?;
    let status = state.engine.cancel(&id).await?;
    Ok(Json(status))
}

/// Which page of the list.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    workspace: Option<String>,
    limit: Option<u32>,
    before: Option<String>,
}

/// Lists builds, newest first.
#[utoipa::path(get, path = "/v1/builds", params(
    ("workspace" = Option<String>, Query,),
    ("limit" = Option<u32>, Query,),
    ("before" = Option<String>, Query, description = "the `next` of the page before"),
), responses((status = 200, description = "A page of builds", body = BuildList)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<BuildList>, ApiError> {
    let workspace = query.workspace.unwrap_or_else(|| "default".into());
    caller.require(Right::Read, &workspace)?;
    let limit = query.limit.unwrap_or(50).clamp(1, PAGE_LIMIT);
    Ok(Json(
        state
            .engine
            .list(&workspace, limit, query.before.as_deref())
            .await?,
    ))
}

/// Tells what a request that leaves something out gets.
#[utoipa::path(get, path = "/v1/defaults", responses(
    (status = 200, description = "The defaults", body = Defaults),
))]
pub(crate) async fn defaults(State(state): State<AppState>, _caller: Caller) -> Json<Defaults> {
    Json(state.engine.defaults())
}

pub(crate) async fn find(state: &AppState, id: &str) -> Result<(String, BuildStatus), ApiError> {
    state.engine.status(id).await?.ok_or_else(|| no_build(id))
}

pub(crate) fn no_build(id: &str) -> ApiError {
    ApiError::not_found(format!(
        "there is no build `{}`",
        id.chars().take(64).collect::<String>()
    ))
}

fn respond(status: BuildStatus) -> Response {
    let over = matches!(
        status.state,
        BuildState::Ready | BuildState::Failed | BuildState::Cancelled
    );
    if over || status.build_id.is_none() {
        return (StatusCode::OK, Json(status)).into_response();
    }
    let location = status
        .build_id
        .as_ref()
        .map(|id| format!("/v1/builds/{id}"));
    let mut response = (StatusCode::ACCEPTED, Json(status)).into_response();
    if let Some(value) = location.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}
