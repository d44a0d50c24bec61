//! Errors in Azure's form: the SDK shows the body as it is.

use axum::Json;
use axum::response::{IntoResponse, Response};
use kiln_engine::EngineError;
use serde_json::json;

use crate::error::ApiError;

/// An error of kiln's API, as Azure ML's services tell errors.
#[derive(Debug)]
pub(super) struct AzureError(ApiError);

impl From<ApiError> for AzureError {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl From<EngineError> for AzureError {
    fn from(error: EngineError) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for AzureError {
    fn into_response(self) -> Response {
        let failure = self.0.failure();
        let code = if self.0.status().is_server_error() {
            "ServiceError"
        } else {
            "UserError"
        };
        let body = json!({ "error": {
            "code": code,
            "message": format!("{} Help: {}.", sentence(&failure.message), failure.remedy),
            "details": [],
            "class": failure.class,
        } });
        self.0.respond_with(Json(body))
    }
}

/// A message of kiln's as a sentence.
fn sentence(message: &str) -> String {
    let mut letters = message.chars();
    let first = letters.next().map(|first| first.to_uppercase().to_string());
    format!("{}{}.", first.unwrap_or_default(), letters.as_str())
}
