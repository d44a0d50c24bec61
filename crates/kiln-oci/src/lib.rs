//! OCI types and rules: digest, reference, descriptor, manifest, image configuration.
