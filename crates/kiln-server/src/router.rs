//! All routes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use kiln_engine::Engine;
use tower_http::trace::TraceLayer;

use crate::access::Token;
use crate::azureml::{Staged, Told};
use crate::hooks::HookSettings;
use crate::{
    azureml, builds, contexts, environments, explain, gc, health, hooks, logs, models, openapi,
    runs, wheels,
};

/// Documents are at most 1 MiB; the files they include and JSON's escapes need room beside them.
const BODY_LIMIT_BYTES: usize = 4 << 20;

/// What handlers work with.
#[derive(Clone)]
pub struct AppState {
    /// The engine.
    pub engine: Engine,
    /// Who may do what; empty only where the server listens on loopback.
    pub tokens: Arc<[Arc<Token>]>,
    /// Webhooks.
    pub hooks: Arc<HookSettings>,
    /// The static installer.
    pub install_binary: Arc<Path>,
    /// `ACCOUNT.blob.DOMAIN[:PORT]`, by which the Azure ML SDK uploads to this server with TLS.
    pub(crate) blob_host: Option<Arc<str>>,
    /// What the SDK of 2019 sends in blocks.
    pub(crate) staged: Arc<Staged>,
    /// Whose end Azure ML's SDKs may know.
    pub(crate) told: Arc<Told>,
}

impl AppState {
    /// What handlers work with.
    pub fn new(
        engine: Engine,
        tokens: Arc<[Arc<Token>]>,
        hooks: HookSettings,
        install_binary: PathBuf,
    ) -> Self {
        Self {
            engine,
            tokens,
            hooks: Arc::new(hooks),
            install_binary: install_binary.into(),
            blob_host: None,
            staged: Arc::default(),
            told: Arc::default(),
        }
    }

    /// The same, which the Azure ML SDK uploads to by this name.
    #[must_use]
    pub fn with_blob_host(self, host: impl Into<Arc<str>>) -> Self {
        Self {
            blob_host: Some(host.into()),
            ..self
        }
    }
}

/// The server's routes.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/live", get(health::live))
        .route("/ready", get(health::ready))
        .route("/v1/builds", post(builds::create).get(builds::list))
        .route("/v1/builds/{id}", get(builds::show).delete(builds::cancel))
        .route("/v1/builds/{id}/logs", get(logs::logs))
        .route("/v1/explain", post(explain::explain))
        .merge(named_environments())
        .merge(models::routes())
        .merge(runs::routes())
        .merge(contexts::routes())
        .merge(wheels::routes())
        .route("/v1/hooks", post(hooks::add).get(hooks::list))
        // POST is for messages of a source, DELETE for a subscription of this id.
        .route("/v1/hooks/{id}", post(hooks::receive).delete(hooks::remove))
        .route("/v1/hooks/{id}/test", post(hooks::test))
        .route("/v1/hooks/{id}/enable", post(hooks::enable))
        .route("/v1/hooks/{id}/replay", post(hooks::replay))
        .route("/v1/hooks/{id}/secrets", post(hooks::add_secret))
        .route(
            "/v1/hooks/{id}/secrets/{number}",
            delete(hooks::remove_secret),
        )
        .route("/v1/gc", post(gc::collect))
        .route("/v1/defaults", get(builds::defaults))
        .route("/v1/openapi.json", get(openapi::show))
        .merge(azureml::routes())
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(TraceLayer::new_for_http())
        .with_state(state)
}

/// A name's own `/` is `%2F` in a path.
fn named_environments() -> Router<AppState> {
    use environments::{
        add_packages, archive, clone, diff, history, label, list, register, reproduce, restore,
        rollback, sharing, show, unlabel, versions,
    };

    Router::new()
        .route("/v1/environments", get(list))
        .route("/v1/environments/{name}", get(show).put(register))
        .route("/v1/environments/{name}/versions", get(versions))
        .route("/v1/environments/{name}/history", get(history))
        .route("/v1/environments/{name}/sharing", get(sharing))
        .route("/v1/environments/{name}/diff", get(diff))
        .route("/v1/environments/{name}/labels", post(label))
        .route("/v1/environments/{name}/labels/{label}", delete(unlabel))
        .route("/v1/environments/{name}/archive", post(archive))
        .route("/v1/environments/{name}/restore", post(restore))
        .route("/v1/environments/{name}/rollback", post(rollback))
        .route("/v1/environments/{name}/clone", post(clone))
        .route("/v1/environments/{name}/packages", post(add_packages))
        .route("/v1/environments/{name}/reproduce", post(reproduce))
}
