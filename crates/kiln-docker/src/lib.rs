//! The docker backend: BuildKit builds through the Docker Engine, read back against the lock and pushed by
//! digest with kiln's own registry client.

mod backend;
mod build;
mod classify;
mod compress;
mod connection;
mod container;
mod export;
mod files;
mod progress;
mod push;
mod read_back;
mod solve;

pub use backend::{DockerBackend, DockerSettings};
pub use connection::{ConnectError, Connection, DEFAULT_HOST};
pub use container::{ContainerCommand, ContainerError, OutputOf};
