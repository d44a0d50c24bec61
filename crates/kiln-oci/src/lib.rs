//! OCI types and rules: digest, reference, descriptor, manifest, image configuration.
//!
//! Reading is tolerant: unknown fields are passed over, Docker's schema 2 types are accepted beside
//! OCI's. Writing is exact: fields have one order, maps are sorted, and equal values give equal bytes,
//! so that a digest can be known before anything is sent.
//!
//! ```
//! use kiln_oci::Reference;
//!
//! let base: Reference = "debian:12".parse()?;
//! assert_eq!(base.to_string(), "docker.io/library/debian:12");
//! # Ok::<(), kiln_oci::ParseReferenceError>(())
//! ```

mod config;
mod descriptor;
mod digest;
mod host;
mod index;
mod manifest;
pub mod media_type;
mod name;
mod platform;
mod prefix;
mod reference;
mod select;

pub use config::{Healthcheck, History, ImageConfig, ParseConfigError, RootFs, RunConfig};
pub use descriptor::{Descriptor, DescriptorPlatform};
pub use digest::{Digest, ParseDigestError};
pub use index::ImageIndex;
pub use manifest::{ImageManifest, Manifest, ParseManifestError};
pub use name::{ParseNameError, RepositoryName, Tag};
pub use platform::{ParsePlatformError, Platform};
pub use prefix::{ParsePrefixError, RegistryPrefix};
pub use reference::{ParseReferenceError, Reference};
pub use select::{SelectPlatformError, select_platform};
