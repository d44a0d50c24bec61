//! Rows for unit tests.

use kiln_spec::SpecHash;
use kiln_store::{BuildRow, Scope};

/// A build that was just begun.
pub(crate) fn build_row() -> BuildRow {
    BuildRow {
        id: "00000000-0000-7000-8000-000000000000".into(),
        scope: Scope::default_scope(),
        spec_hash: SpecHash::of_canonical_json("{}"),
        state: "QUEUED".into(),
        fence: 1,
        attempt: 1,
        crashes: 0,
        repository: "localhost:5000/azureml/azureml_0".into(),
        backend: "docker".into(),
        refresh: false,
        lock_hash: None,
        digest: None,
        generation: None,
        failure_json: None,
        actor: "local".into(),
        via: "test".into(),
        created_ms: 0,
    }
}
