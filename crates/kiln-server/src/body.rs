//! Bodies of requests.

use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// Reads a JSON body; whatever its content type says.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::invalid(
            format!("the request is not what it must be: {error}"),
            "send JSON as /v1/openapi.json describes it",
        )
    })
}
