//! A client for OCI distribution registries.
//!
//! It probes in three answers, pulls, mounts, uploads and tags. Every byte that comes in is checked by
//! size and digest and has a limit; credentials go to the exact host they are meant for; what may pass
//! is retried inside a budget.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use kiln_oci::Platform;
//! use kiln_registry::RegistryClient;
//!
//! let client = RegistryClient::builder().build()?;
//! let image = client.resolve_platform(&"debian:12".parse()?, &Platform::default()).await?;
//! assert!(!image.manifest.layers.is_empty());
//! # Ok(())
//! # }
//! ```

mod auth;
mod blob;
mod builder;
mod challenge;
mod client;
mod credentials;
mod docker_config;
mod error;
mod error_body;
mod fault;
mod gate;
mod journal;
mod manifest;
mod mount;
mod policy;
mod push;
mod redirect;
mod remote;
mod resolve;
mod retry;
mod scope;
mod secret;
mod source;
mod tags;
mod transport;
mod upload;

pub use blob::BlobStream;
pub use builder::{BuildClientError, RegistryClientBuilder, Timeouts};
pub use client::RegistryClient;
pub use credentials::{Chain, CredentialError, CredentialSource, Credentials, StaticCredentials};
pub use docker_config::DockerConfig;
pub use error::{ErrorKind, Operation, RegistryError};
pub use error_body::DistributionError;
pub use fault::Fault;
pub use journal::UploadJournal;
pub use manifest::{FetchedManifest, Probe};
pub use mount::{MountOutcome, UploadSession};
pub use push::{BlobPush, Pushed, TagRule};
pub use remote::RemoteBlob;
pub use resolve::ResolvedImage;
pub use retry::RetryBudget;
pub use secret::Secret;
pub use source::{BlobSource, OpenBlob};

/// The largest manifest, configuration or list that is read, in bytes (distribution specification:
/// clients should expect 4 MiB).
pub const MANIFEST_LIMIT: usize = 4 << 20;
