//! Experiments.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::shown;
use crate::access::Right;
use crate::azureml::error::AzureError;
use crate::azureml::place::Place;
use crate::router::AppState;

/// Experiments of a list.
const PAGE: u32 = 500;

/// An experiment, by its name or id.
pub(super) async fn get(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let row = place.experiment_row(&state, Right::Read).await?;
    Ok(Json(shown::experiment(&row)))
}

/// Makes an experiment; one that is there is answered as it is.
pub(super) async fn create(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Build)?;
    let (name, origin) = (place.experiment()?, place.origin());
    let made = state.engine.put_experiment(scope, &name, &origin.actor);
    Ok(Json(shown::experiment(&made.await?)))
}

/// The experiments of a workspace by name.
pub(super) async fn list(
    State(state): State<AppState>,
    place: Place,
) -> Result<Json<Value>, AzureError> {
    let scope = place.scope(Right::Read)?;
    let rows = state.engine.experiments(scope, PAGE, None).await?;
    let value: Vec<_> = rows.iter().map(shown::experiment).collect();
    Ok(Json(json!({ "value": value, "continuationToken": null })))
}
