//! `Environment.add_private_pip_wheel`: the artifacts that are the workspace's private wheels.
//!
//! The SDK asks for an address, and uploads there as to a storage account.

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post, put};
use kiln_engine::{EngineError, check_wheel_name};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::AzureError;
use super::place::Place;
use super::{WORKSPACE, blob};
use crate::access::Right;
use crate::error::ApiError;
use crate::router::AppState;

/// Where the SDK puts wheels.
const CONTAINER: &str = "Environment/azureml-private-packages";

pub(super) fn routes() -> Router<AppState> {
    let of = |path: &str| format!("/artifact/v2.0{WORKSPACE}/artifacts{path}");
    Router::new()
        .route(&of(&format!("/batch/metadata/{CONTAINER}")), post(create))
        .route(
            &of(&format!("/contentinfo/{CONTAINER}/{{path}}")),
            get(content),
        )
        .route(
            &format!("/azureml/{{subscription}}/{{group}}/{{workspace}}/{CONTAINER}/{{path}}"),
            put(blob::put)
                .layer(DefaultBodyLimit::disable())
                .get(blob::get)
                .head(blob::get),
        )
}

/// What is to be uploaded.
#[derive(Debug, Deserialize)]
struct Batch {
    paths: Vec<Artifact>,
}

#[derive(Debug, Deserialize)]
struct Artifact {
    path: String,
}

/// Gives addresses to upload wheels to; what can't be taken is told by name.
async fn create(
    State(state): State<AppState>,
    place: Place,
    body: Bytes,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Build)?;
    let batch: Batch = crate::body::read(&body)?;
    let (mut artifacts, mut contents, mut errors) = (Map::new(), Map::new(), Map::new());
    for Artifact { path } in batch.paths {
        let id = format!("{CONTAINER}/{path}");
        let mut refuse = |code: &str, message: String| {
            let error = json!({ "error": { "code": code, "message": message } });
            errors.insert(path.clone(), error);
        };
        if let Err(error) = check_wheel_name(&path) {
            let failure = error.failure();
            refuse(
                "UserError",
                format!("{}: {}", failure.message, failure.remedy),
            );
            continue;
        }
        match state.engine.wheel(scope, &path).await {
            Ok(_) => {
                refuse(
                    "Conflict",
                    format!("Resource Conflict: ArtifactId {id} already exists."),
                );
                continue;
            }
            Err(EngineError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(address) = blob::address(&state, &place, &path) else {
            let message = "this kiln has no address that the SDK can upload to: its operator sets `tls`, with \
                           `blob_host`; `kiln wheel add` needs none";
            refuse("UserError", message.into());
            continue;
        };
        let named = json!({ "origin": "Environment", "container": "azureml-private-packages", "path": path });
        let with = |more: Value| {
            let mut all = named.as_object().cloned().unwrap_or_default();
            all.extend(more.as_object().cloned().unwrap_or_default());
            Value::Object(all)
        };
        artifacts.insert(
            path.clone(),
            with(json!({ "artifactId": id, "etag": null, "createdTime": null, "dataPath": null })),
        );
        contents.insert(path.clone(), with(json!({ "contentUri": address })));
    }
    Ok(Json(json!({
        "artifacts": artifacts,
        "artifactContentInformation": contents,
        "errors": errors,
    })))
}

/// The address of a wheel that is there.
async fn content(State(state): State<AppState>, place: Place) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let (_, path) = place.artifacts();
    let row = state.engine.wheel(scope, path).await?;
    let address = blob::address(&state, &place, path).or(row.url);
    let address =
        address.ok_or_else(|| ApiError::not_found(format!("the wheel `{path}` has no address")))?;
    Ok(Json(json!({
        "contentUri": address,
        "origin": "Environment",
        "container": "azureml-private-packages",
        "path": path,
    })))
}
