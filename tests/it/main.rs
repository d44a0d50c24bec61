//! The one integration test binary.
#![expect(
    clippy::unwrap_used,
    reason = "a fault in a test's own set-up ends the test"
)]

mod api;
mod assemble;
mod azureml;
mod azureml_conda;
mod azureml_documents;
mod azureml_page;
mod azureml_runs;
mod azureml_submit;
mod azureml_wheels;
mod azureml_workspaces;
mod cache;
mod conda;
mod contexts;
mod durable;
mod eject;
mod environments;
mod environments_page;
mod explain;
mod faults;
mod gc;
mod hooks;
mod import;
mod inferencing;
mod layer_linking;
mod layer_readers;
mod layers;
mod leftovers;
mod models;
mod pip;
mod private_registry;
mod promises;
mod queue;
mod refresh;
mod registry_server;
mod runs;
mod secrets;
mod sections;
mod steps;
mod user_managed;
mod verify;
mod wheels;
