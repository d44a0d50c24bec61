//! `/v1/builds`: get-or-create, look at, cancel.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kiln_api::{BuildList, BuildRequest, BuildState, BuildStatus, Defaults};
use kiln_engine::{Origin, RequestKey, Scope, Waiting};
use kiln_oci::Digest;
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::error::ApiError;
use crate::router::AppState;

/// The longest a request may wait for its build.
const LONGEST_WAIT: Duration = Duration::from_mins(10);
/// The longest `Idempotency-Key`.
const KEY_LIMIT: usize = 255;
/// Builds a page of the list holds at most.
const PAGE_LIMIT: u32 = 200;

/// Gets the image of an environment, building it when there is none.
#[utoipa::path(post, path = "/v1/builds", request_body = BuildRequest, params(
    ("Idempotency-Key" = Option<String>, Header, description = "the same key and body again are the same request, for a day"),
), responses(
    (status = 200, description = "READY or FAILED is known", body = BuildStatus),
    (status = 202, description = "The build goes on; `Location` tells where", body = BuildStatus),
    (status = 400, description = "The input is at fault"),
    (status = 401, description = "No valid token"),
    (status = 404, description = "There is no environment of this name and version"),
    (status = 409, description = "The Idempotency-Key was used for another request, or the version is registered with another document"),
    (status = 429, description = "Too many builds wait; `Retry-After` tells when to ask again"),
    (status = 503, description = "The server takes no work now; `Retry-After` tells when to ask again"),
))]
pub(crate) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let digest = Digest::of(&body);
    let keyed = headers.contains_key("idempotency-key");
    if let Some(question) = state.engine.asked_before(&digest).filter(|_| !keyed) {
        caller.require(Right::Build, question.scope().as_str())?;
        if let Some(status) = state.engine.answer_from_memory(&question) {
            return Ok(respond(status));
        }
    }
    let request: BuildRequest = serde_json::from_slice(&body).map_err(|error| {
        ApiError::invalid(
            format!("the request is not what it must be: {error}"),
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
    let mut submission = state.engine.submission(request, origin).await?;
    submission.options.request = idempotency_key(&headers, &submission.scope, digest)?;
    let question = submission.question();
    let ticket = state.engine.submit(submission).await?;
    let status = ticket.wait(wait).await;
    if let Some(question) = question {
        state.engine.keep_question(digest, question, &status);
    }
    Ok(respond(status))
}

/// The `Idempotency-Key` of a request, with the digest of what it said.
fn idempotency_key(
    headers: &HeaderMap,
    scope: &Scope,
    body: Digest,
) -> Result<Option<RequestKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| (1..=KEY_LIMIT).contains(&key.len()));
    let key = key.ok_or_else(|| {
        ApiError::invalid(
            "the Idempotency-Key is not usable",
            "send 1 to 255 visible ASCII characters",
        )
    })?;
    Ok(Some(RequestKey::idempotency(scope, key, body)))
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

/// Who withdraws.
#[derive(Debug, Deserialize)]
pub(crate) struct CancelQuery {
    waiter: Option<String>,
    all: Option<bool>,
}

/// Withdraws from a build: the named waiter, or all of this caller's. The build is stopped when nobody
/// else waits for it.
#[utoipa::path(delete, path = "/v1/builds/{id}", params(
    ("id" = String, Path,),
    ("waiter" = Option<String>, Query, description = "the `waiter` of one answer"),
    ("all" = Option<bool>, Query, description = "stops the build whoever waits; needs the right `admin`"),
), responses(
    (status = 200, description = "Where the build is now; CANCELLED when nobody waited any more", body = BuildStatus),
    (status = 404, description = "There is no such build"),
))]
pub(crate) async fn cancel(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<CancelQuery>,
) -> Result<Json<BuildStatus>, ApiError> {
    let (workspace, _) = find(&state, &id).await?;
    caller
        .require(Right::Read, &workspace)
        .map_err(|_| no_build(&id))?;
    caller.require(Right::Build, &workspace)?;
    let who = match (query.waiter, query.all) {
        (_, Some(true)) => {
            caller.require(Right::Admin, &workspace)?;
            Waiting::All
        }
        (Some(waiter), _) => Waiting::One(waiter.parse().map_err(|_| {
            ApiError::invalid(
                "the waiter is not one of kiln's",
                "send the `waiter` of an answer to POST /v1/builds",
            )
        })?),
        (None, _) => Waiting::Of(caller.name),
    };
    let status = state.engine.withdraw(&id, &who).await?;
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

pub(crate) fn respond(status: BuildStatus) -> Response {
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
