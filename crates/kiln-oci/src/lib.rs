//! OCI types and rules: digest, reference, descriptor, manifest, image configuration.

mod digest;

pub use digest::{Digest, ParseDigestError};
