//! `/live` and `/ready`, open to everybody.

use axum::extract::State;
use http::StatusCode;

use crate::router::AppState;

/// The process answers.
pub(crate) async fn live() -> &'static str {
    "live\n"
}

/// The store answers and work is taken.
pub(crate) async fn ready(State(state): State<AppState>) -> (StatusCode, &'static str) {
    if state.engine.ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
