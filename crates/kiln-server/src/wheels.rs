//! `/v1/wheels`: private wheels of a workspace.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use futures::TryStreamExt as _;
use http::{StatusCode, header};
use kiln_api::{WheelInfo, WheelList};
use kiln_engine::{KeptWheel, Origin, WheelRow};
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::environments::{date, scope};
use crate::error::ApiError;
use crate::router::AppState;

/// Wheels of a page at most.
const PAGE_LIMIT: u32 = 100;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/v1/wheels", get(list)).route(
        "/v1/wheels/{file_name}",
        // The engine has its own limit of a wheel's bytes.
        put(upload).layer(DefaultBodyLimit::disable()).get(show),
    )
}

/// Which workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct ScopeQuery {
    workspace: Option<String>,
}

/// Uploads a wheel. Its file name keeps these bytes for ever.
#[utoipa::path(put, path = "/v1/wheels/{file_name}", params(
    ("file_name" = String, Path, description = "as the build tool named it"),
    ("workspace" = Option<String>, Query,),
), operation_id = "upload_wheel", request_body(content = Vec<u8>, content_type = "application/octet-stream"), responses(
    (status = 201, description = "It is kept", body = WheelInfo),
    (status = 200, description = "The very same was there", body = WheelInfo),
    (status = 400, description = "The file name is no wheel's, or the wheel is not usable"),
    (status = 409, description = "The file name is another wheel's"),
))]
pub(crate) async fn upload(
    State(state): State<AppState>,
    caller: Caller,
    Path(file_name): Path<String>,
    Query(query): Query<ScopeQuery>,
    body: Body,
) -> Response {
    let done = receive(&state, &caller, &file_name, &query, body).await;
    done.unwrap_or_else(|error| {
        // What is left of the body is not read: the connection is of no use any more.
        let close = [(header::CONNECTION, "close")];
        (close, error).into_response()
    })
}

async fn receive(
    state: &AppState,
    caller: &Caller,
    file_name: &str,
    query: &ScopeQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = scope(caller, Right::Build, query.workspace.as_deref())?;
    let origin = Origin {
        actor: caller.name.clone(),
        via: "http".into(),
    };
    let bytes = body.into_data_stream().map_err(std::io::Error::other);
    let kept = state
        .engine
        .upload_wheel(&scope, file_name, bytes, None, &origin)
        .await?;
    Ok(match kept {
        KeptWheel::New(row) => (StatusCode::CREATED, Json(shown(&row))).into_response(),
        KeptWheel::Same(row) | KeptWheel::Taken(row) => Json(shown(&row)).into_response(),
    })
}

/// Which wheels.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    workspace: Option<String>,
    after: Option<String>,
    limit: Option<u32>,
}

/// Lists the wheels of a workspace by file name.
#[utoipa::path(get, path = "/v1/wheels", params(
    ("workspace" = Option<String>, Query,),
    ("after" = Option<String>, Query, description = "the `next` of the page before"),
    ("limit" = Option<u32>, Query, description = "at most 100"),
), operation_id = "list_wheels", responses((status = 200, description = "A page", body = WheelList)))]
pub(crate) async fn list(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Result<Json<WheelList>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let limit = query.limit.unwrap_or(50).clamp(1, PAGE_LIMIT);
    let after = query.after.unwrap_or_default();
    // One more tells whether there is another page.
    let mut rows = state.engine.wheels(&scope, &after, limit + 1).await?;
    let more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    let next = rows.last().filter(|_| more);
    Ok(Json(WheelList {
        next: next.map(|row| row.file_name.clone()),
        value: rows.iter().map(shown).collect(),
    }))
}

/// Shows a wheel.
#[utoipa::path(get, path = "/v1/wheels/{file_name}", params(
    ("file_name" = String, Path,),
    ("workspace" = Option<String>, Query,),
), operation_id = "show_wheel", responses(
    (status = 200, description = "The wheel", body = WheelInfo),
    (status = 404, description = "There is no such wheel"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(file_name): Path<String>,
    Query(query): Query<ScopeQuery>,
) -> Result<Json<WheelInfo>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let row = state.engine.wheel(&scope, &file_name).await?;
    Ok(Json(shown(&row)))
}

fn shown(row: &WheelRow) -> WheelInfo {
    WheelInfo {
        file_name: row.file_name.clone(),
        name: row.name.clone(),
        version: row.version.clone(),
        digest: row.digest.to_string(),
        size_bytes: row.size_bytes,
        requirement: format!("{} @ kiln-wheel:{}", row.name, row.digest),
        url: row.url.clone(),
        actor: row.actor.clone(),
        via: row.via.clone(),
        created: date(row.created_ms),
    }
}
