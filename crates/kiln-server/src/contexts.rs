//! `/v1/contexts`: build contexts of a workspace.

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::TryStreamExt as _;
use http::{StatusCode, header};
use kiln_api::ContextInfo;
use kiln_engine::{ContextRow, Origin};
use kiln_oci::Digest;
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::environments::{date, scope};
use crate::error::ApiError;
use crate::router::AppState;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        // The engine has its own limit of a context's bytes.
        .route(
            "/v1/contexts",
            post(upload).layer(DefaultBodyLimit::disable()),
        )
        .route("/v1/contexts/{digest}", get(show))
}

/// Which workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct ScopeQuery {
    workspace: Option<String>,
}

/// Uploads a folder as a tar. Environments name it as `docker.buildContext.location`.
#[utoipa::path(post, path = "/v1/contexts", params(("workspace" = Option<String>, Query,)),
    operation_id = "upload_context",
    request_body(content = Vec<u8>, content_type = "application/x-tar"), responses(
    (status = 201, description = "It is kept", body = ContextInfo),
    (status = 200, description = "An equal folder was there", body = ContextInfo),
    (status = 400, description = "The tar has something that is no file, folder or link below its root, or too much"),
    (status = 503, description = "There is no room on the disk"),
))]
pub(crate) async fn upload(
    State(state): State<AppState>,
    caller: Caller,
    Query(query): Query<ScopeQuery>,
    body: Body,
) -> Response {
    let done = receive(&state, &caller, &query, body).await;
    done.unwrap_or_else(|error| {
        // What is left of the body is not read: the connection is of no use any more.
        let close = [(header::CONNECTION, "close")];
        (close, error).into_response()
    })
}

async fn receive(
    state: &AppState,
    caller: &Caller,
    query: &ScopeQuery,
    body: Body,
) -> Result<Response, ApiError> {
    let scope = scope(caller, Right::Build, query.workspace.as_deref())?;
    let origin = Origin {
        actor: caller.name.clone(),
        via: "http".into(),
    };
    let tar = body.into_data_stream().map_err(std::io::Error::other);
    let (row, is_new) = state.engine.upload_context(&scope, tar, &origin).await?;
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(shown(&row))).into_response())
}

/// Shows a build context.
#[utoipa::path(get, path = "/v1/contexts/{digest}", params(
    ("digest" = String, Path, description = "`sha256:` and 64 hex digits"),
    ("workspace" = Option<String>, Query,),
), operation_id = "show_context", responses(
    (status = 200, description = "The context", body = ContextInfo),
    (status = 404, description = "There is no such context"),
))]
pub(crate) async fn show(
    State(state): State<AppState>,
    caller: Caller,
    Path(digest): Path<String>,
    Query(query): Query<ScopeQuery>,
) -> Result<Json<ContextInfo>, ApiError> {
    let scope = scope(&caller, Right::Read, query.workspace.as_deref())?;
    let digest: Digest = digest.parse().map_err(|_| {
        ApiError::invalid(
            "the context's digest is none",
            "write `sha256:` and 64 hex digits",
        )
    })?;
    let row = state.engine.context(&scope, &digest).await?;
    Ok(Json(shown(&row)))
}

fn shown(row: &ContextRow) -> ContextInfo {
    ContextInfo {
        digest: row.digest.to_string(),
        location: format!("kiln-context:{}", row.digest),
        size_bytes: row.size_bytes,
        files: row.files,
        actor: row.actor.clone(),
        via: row.via.clone(),
        created: date(row.created_ms),
    }
}
