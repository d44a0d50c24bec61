//! Snapshots of source folders. The script of a local run sends the folder itself, file by file by content: what the SDK
//! asks here is answered so that it needn't send any.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use serde_json::{Value, json};

use crate::access::Right;
use crate::azureml::error::AzureError;
use crate::azureml::place::Place;
use crate::router::AppState;

/// What the SDKs of 2019 send at once: their own limit of a snapshot is 300 MB, in parts.
pub(super) const SENT_LIMIT_BYTES: usize = 64 << 20;

/// No snapshot is the latest: one without files, whose id must be a text.
pub(super) async fn latest(place: Place) -> Result<Json<Value>, AzureError> {
    place.scope(Right::Read)?;
    Ok(Json(json!({
        "id": "00000000-0000-0000-0000-000000000000",
        "root": {
            "name": "", "type": "Directory", "hash": "",
            "timestamp": "2020-01-01T00:00:00+00:00", "children": {},
        },
    })))
}

/// No file needs to be uploaded.
pub(super) async fn places(place: Place) -> Result<Json<Value>, AzureError> {
    place.scope(Right::Build)?;
    Ok(Json(json!({ "fileNodes": [] })))
}

/// The list of a snapshot's files, or, of the SDKs of 2019, the files: they come again with the run.
pub(super) async fn take(
    State(_): State<AppState>,
    place: Place,
    _: Bytes,
) -> Result<Json<Value>, AzureError> {
    place.scope(Right::Build)?;
    Ok(Json(json!({})))
}
