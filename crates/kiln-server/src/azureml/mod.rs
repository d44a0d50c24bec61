//! The Azure ML API as the unmodified SDKs speak it: discovery, the workspace as a resource, environments,
//! their images and builds.
//!
//! A workspace of Azure ML is the kiln workspace `subscription/resource group/name`.

mod blob;
mod builds;
mod environments;
mod error;
mod execution;
mod history;
mod place;
mod private_wheels;
mod recipe;
mod workspace;

use axum::Router;
use axum::routing::{get, post, put};

use crate::router::AppState;
pub(crate) use blob::Staged;
pub(crate) use builds::Told;

/// The path of a workspace below every service.
const WORKSPACE: &str = "/subscriptions/{subscription}/resourceGroups/{group}/providers/Microsoft.MachineLearningServices/workspaces/{workspace}";

/// The routes of Azure ML's services.
pub(crate) fn routes() -> Router<AppState> {
    let resource = Router::new()
        .route("/discovery", get(workspace::discovery))
        .route(WORKSPACE, get(workspace::resource));
    let of = |service: &str, path: &str| format!("{service}{WORKSPACE}{path}");
    let environment = |path: &str| of("/environment/v1.0", path);
    let v2 = |path: &str| of("/environment/v2.0", path);
    let name = "/environments/{name}";
    let version = "/environments/{name}/versions/{version}";
    let register = put(environments::register).get(environments::get);
    resource
        .route(&environment("/environments"), get(environments::list))
        .route(&environment("/environments/"), get(environments::list))
        .route(&environment(name), register.clone())
        .route(&environment(version), register)
        .route(
            &environment("/environments/{name}/labels/{label}"),
            get(environments::get),
        )
        .route(
            &environment(&format!("{version}/metadata")),
            put(environments::label),
        )
        .route(
            &environment(&format!("{name}/image")),
            get(builds::details).post(builds::start_2019),
        )
        .route(
            &environment(&format!("{version}/image")),
            get(builds::details).post(builds::start_2019),
        )
        .route(
            &environment(&format!("{name}/recipe")),
            post(recipe::recipe),
        )
        .route(
            &environment(&format!("{version}/recipe")),
            post(recipe::recipe),
        )
        .route(&v2(&format!("{version}/image")), post(builds::start))
        .route(
            &v2(&format!("{version}/imageoncompute/{{compute}}")),
            post(builds::start),
        )
        .route(&v2("/builds/{build}"), get(builds::status))
        .route(&environment("/builds/{build}"), get(builds::status_2019))
        .route("/environment/v1.0/logs/{build}", get(builds::log))
        .merge(private_wheels::routes())
        .merge(history::routes())
        .merge(execution::routes())
}
