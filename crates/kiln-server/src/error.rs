//! Errors of the API: a status and a failure that tells what to do.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kiln_api::{Failure, FailureClass};
use kiln_engine::EngineError;
use serde::Serialize;

/// When to ask again while the queue is full: builds take minutes, not milliseconds.
const QUEUE_RETRY_SECONDS: u64 = 15;

/// What a handler answers when it can't do what was asked.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    failure: Failure,
    retry_after_seconds: Option<u64>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a Failure,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, failure: Failure) -> Self {
        Self {
            status,
            failure,
            retry_after_seconds: None,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn failure(&self) -> &Failure {
        &self.failure
    }

    /// The response with another body.
    pub(crate) fn respond_with(&self, body: impl IntoResponse) -> Response {
        let mut response = (self.status, body).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(header::RETRY_AFTER, value);
        }
        response
    }

    /// The input is at fault.
    pub(crate) fn invalid(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            Failure::new(FailureClass::Invalid, message, remedy),
        )
    }

    /// Nothing of this name exists, as far as the caller may know.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        let remedy = "check the id and the workspace";
        Self::new(
            StatusCode::NOT_FOUND,
            Failure::new(FailureClass::NotFound, message, remedy),
        )
    }

    /// No token, or an unknown one.
    pub(crate) fn unauthorized() -> Self {
        let failure = Failure::new(
            FailureClass::Auth,
            "the request has no valid token",
            "send `Authorization: Bearer TOKEN` with a token of this server's `auth.tokens`",
        );
        Self::new(StatusCode::UNAUTHORIZED, failure)
    }

    /// Too much waits already.
    pub(crate) fn too_many(failure: Failure) -> Self {
        Self {
            retry_after_seconds: Some(QUEUE_RETRY_SECONDS),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, failure)
        }
    }

    /// The server can't take work now.
    pub(crate) fn unavailable(failure: Failure) -> Self {
        Self {
            retry_after_seconds: Some(5),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, failure)
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let failure = error.failure();
        match error {
            EngineError::Conflict
            | EngineError::VersionTaken { .. }
            | EngineError::WheelTaken { .. } => {
                return Self::new(StatusCode::CONFLICT, failure);
            }
            EngineError::Full { .. } => return Self::too_many(failure),
            _ => {}
        }
        match failure.class {
            FailureClass::Invalid => Self::new(StatusCode::BAD_REQUEST, failure),
            FailureClass::NotFound => Self::new(StatusCode::NOT_FOUND, failure),
            FailureClass::Auth => Self::new(StatusCode::FORBIDDEN, failure),
            FailureClass::Disk | FailureClass::Internal if failure.retryable => {
                tracing::error!(error = %failure.message, "a request was not taken");
                Self::unavailable(failure)
            }
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, failure),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (
            self.status,
            Json(Body {
                error: &self.failure,
            }),
        )
            .into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
