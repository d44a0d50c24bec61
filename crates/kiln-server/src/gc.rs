//! `POST /v1/gc`: what nothing needs is told, and removed.

use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use kiln_api::{GcReport, GcRequest};

use crate::access::{Caller, Right};
use crate::error::ApiError;
use crate::router::AppState;

/// Tells what no running build and no current image needs, and removes it where `apply` is true.
#[utoipa::path(post, path = "/v1/gc", request_body = GcRequest, responses(
    (status = 200, description = "What would go, or went", body = GcReport),
    (status = 400, description = "The request is not what it must be"),
    (status = 403, description = "The token does not allow it, or is for one workspace alone"),
))]
pub(crate) async fn collect(
    State(state): State<AppState>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<GcReport>, ApiError> {
    caller.require_everywhere(Right::Admin)?;
    let request: GcRequest = serde_json::from_slice(&body).map_err(|error| {
        ApiError::invalid(
            format!("the request is not what it must be: {error}"),
            "send JSON as /v1/openapi.json describes it",
        )
    })?;
    let grace = request.grace_seconds.map(Duration::from_secs);
    let report = state.engine.collect(grace, request.apply).await?;
    Ok(Json(report))
}
