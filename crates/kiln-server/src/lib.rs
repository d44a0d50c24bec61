//! kiln's HTTP server: the native API, health and the OpenAPI document.

mod access;
mod azureml;
mod body;
mod builds;
mod contexts;
mod environments;
mod error;
mod explain;
mod gc;
mod health;
mod hooks;
mod logs;
mod models;
mod openapi;
mod router;
mod runs;
mod serve;
mod tls;
mod wheels;

pub use access::{ParseRightError, Right, Token};
pub use hooks::{Egress, HookSettings, Networks, Source, SourceKind, deliver_events};
pub use openapi::document as openapi_document;
pub use router::{AppState, router};
pub use serve::{serve, serve_tls};
pub use tls::{TlsError, TlsListener, tls_config};
