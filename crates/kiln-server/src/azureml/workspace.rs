//! The workspace: where its services are, and what it is.

use axum::Json;
use http::HeaderMap;
use serde_json::{Value, json};

use super::error::AzureError;
use super::place::{Place, server};
use crate::access::Right;

/// The services that the SDKs look up, of which kiln is each.
const SERVICES: [&str; 7] = [
    "api",
    "experimentation",
    "history",
    "hyperdrive",
    "modelmanagement",
    "pipelines",
    "studio",
];

/// Tells where the services are. The SDK asks without a token.
pub(super) async fn discovery(headers: HeaderMap) -> Json<Value> {
    let server = server(&headers);
    let services = SERVICES.map(|service| (service.to_owned(), Value::from(server.as_str())));
    Json(Value::Object(services.into_iter().collect()))
}

/// The workspace as a resource of Azure's resource manager.
pub(super) async fn resource(place: Place) -> Result<Json<Value>, AzureError> {
    place.scope(Right::Read)?;
    Ok(Json(json!({
        "id": place.path(),
        "name": place.workspace(),
        "type": "Microsoft.MachineLearningServices/workspaces",
        "location": "local",
        "sku": { "name": "Basic", "tier": "Basic" },
        "tags": {},
        "properties": {
            "friendlyName": place.workspace(),
            "description": "kiln",
            "provisioningState": "Succeeded",
            "workspaceId": place.id(),
            "discoveryUrl": format!("{}/discovery", place.server),
        },
    })))
}
