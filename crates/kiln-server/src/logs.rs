//! `/v1/builds/{id}/logs`: live, resumable, as events or as plain text.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::StreamExt as _;
use http::{HeaderMap, header};
use kiln_api::{LogEvent, LogKind};
use serde::Deserialize;

use crate::access::{Caller, Right};
use crate::builds::{find, no_build};
use crate::error::ApiError;
use crate::router::AppState;

/// How the log is wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct LogQuery {
    /// `text` for plain text in place of events.
    format: Option<String>,
}

/// Streams a build's log from the beginning, or after `Last-Event-ID`, until the build is over.
#[utoipa::path(get, path = "/v1/builds/{id}/logs", params(
    ("id" = String, Path,),
    ("format" = Option<String>, Query, description = "`text` for plain lines"),
), responses(
    (status = 200, description = "Server-sent events whose data is a LogEvent", body = LogEvent, content_type = "text/event-stream"),
    (status = 404, description = "There is no such build"),
))]
pub(crate) async fn logs(
    State(state): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (workspace, _) = find(&state, &id).await?;
    caller
        .require(Right::Read, &workspace)
        .map_err(|_| no_build(&id))?;
    let last = headers
        .get("last-event-id")
        .and_then(|value| value.to_str().ok());
    let after = match last {
        None => 0,
        Some(text) => text.trim().parse().map_err(|_| {
            ApiError::invalid(
                "Last-Event-ID is not a number",
                "send the id of an event of this log",
            )
        })?,
    };
    let events = state.engine.follow_log(&id, after);
    if query.format.as_deref() == Some("text") {
        let lines = events.filter_map(|event| async move { plain(&event) });
        let body = Body::from_stream(lines.map(Ok::<_, Infallible>));
        return Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response());
    }
    let events = events.map(|event| {
        let data = serde_json::to_string(&event).expect("a log event is plain data");
        Ok::<_, Infallible>(
            Event::default()
                .id(event.id.to_string())
                .event("log")
                .data(data),
        )
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(events).keep_alive(keep_alive).into_response())
}

/// An event as a line of plain text.
pub(crate) fn plain(event: &LogEvent) -> Option<String> {
    match event.kind {
        LogKind::Line => Some(format!("{}\n", event.text)),
        LogKind::State => Some(format!("== {}\n", event.text)),
        LogKind::Step => None,
    }
}
