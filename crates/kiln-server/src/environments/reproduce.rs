//! A version is made again from its recorded lock.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use kiln_api::{ReproduceRequest, Reproduction};

use super::{name, scope, which};
use crate::access::{Caller, Right};
use crate::body::read;
use crate::error::ApiError;
use crate::router::AppState;

/// Makes the image of a version again from its recorded lock, and tells what agrees with the recorded
/// image. The answer comes when that is known; a connection that breaks stops the work.
#[utoipa::path(post, path = "/v1/environments/{name}/reproduce", params(("name" = String, Path,)),
request_body = ReproduceRequest, responses(
    (status = 200, description = "It was made again", body = Reproduction),
    (status = 400, description = "It was not built yet, or its lock is not recorded"),
    (status = 404, description = "There is no such version"),
))]
pub(crate) async fn reproduce(
    State(state): State<AppState>,
    caller: Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<Json<Reproduction>, ApiError> {
    let request: ReproduceRequest = read(&body)?;
    let scope = scope(&caller, Right::Build, request.workspace.as_deref())?;
    let which = which(request.version.as_deref())?;
    let engine = &state.engine;
    let row = engine.environment(&scope, &name(&named)?, &which).await?;
    Ok(Json(engine.reproduce_environment(&scope, &row).await?))
}
