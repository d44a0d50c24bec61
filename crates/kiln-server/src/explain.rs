//! `POST /v1/explain`: why a request is answered as it is.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use kiln_api::{ExplainRequest, Explanation};
use kiln_engine::Origin;

use crate::access::{Caller, Right};
use crate::body::read;
use crate::environments::{name, which};
use crate::error::ApiError;
use crate::router::AppState;

/// Explains what would come of a request for a build: a hit or a miss and why, what differs from a named
/// version, what a refresh would change. Nothing is registered or built.
#[utoipa::path(post, path = "/v1/explain", request_body = ExplainRequest, responses(
    (status = 200, description = "The explanation", body = Explanation),
    (status = 400, description = "The input is at fault"),
    (status = 404, description = "There is no environment of this name and version"),
))]
pub(crate) async fn explain(
    State(state): State<AppState>,
    caller: Caller,
    body: Bytes,
) -> Result<Json<Explanation>, ApiError> {
    let request: ExplainRequest = read(&body)?;
    let workspace = request.build.workspace.as_deref().unwrap_or("default");
    caller.require(Right::Build, workspace)?;
    let against = request.against.as_deref().map(|text| {
        let (named, version) = match text.split_once(':') {
            Some((named, version)) => (named, Some(version)),
            None => (text, None),
        };
        Ok::<_, ApiError>((name(named)?, which(version)?))
    });
    let against = against.transpose()?;
    let origin = Origin {
        actor: caller.name.clone(),
        via: "http".into(),
    };
    let submission = state.engine.submission(request.build, origin).await?;
    let explaining = state.engine.explain(submission, against, request.resolve);
    // Boxed: a resolution's state is large.
    Ok(Json(Box::pin(explaining).await?))
}
