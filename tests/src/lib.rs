//! The harness of the integration tests: real kiln processes against the real services of the test bed.
//!
//! `cargo xtask test` starts the services and tells where they are by `KILN_TEST_REGISTRY` (a registry that
//! holds the base images) and `KILN_TEST_CHANNELS` (an http server with conda channels and package indexes).

mod docker;
pub mod faults;
mod kiln;
mod proxy;
mod registry;

pub use docker::Docker;
pub use kiln::{Answer, Kiln, Server, Signals};
pub use proxy::{Fault, Proxy};
pub use registry::PrivateRegistry;
pub use rustix::process::Signal;

/// `HOST:PORT` of the registry with the base images.
pub fn registry() -> String {
    std::env::var("KILN_TEST_REGISTRY").unwrap_or_else(|_| "localhost:5000".into())
}

/// The address of the server with channels and indexes, without a slash at the end.
pub fn channels() -> String {
    std::env::var("KILN_TEST_CHANNELS").unwrap_or_else(|_| "http://127.0.0.1:8899".into())
}

/// A base image of the test bed, for example `debian:12`.
pub fn base(name: &str) -> String {
    format!("{}/base/{name}", registry())
}

/// A prefix in the registry that no other test uses.
pub fn fresh_prefix() -> String {
    let folder = tempfile::Builder::new()
        .prefix("")
        .rand_bytes(12)
        .tempdir()
        .expect("a temporary folder");
    let name = folder
        .path()
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("x")
        .to_lowercase();
    format!("{}/t/{name}", registry())
}
