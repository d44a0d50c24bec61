//! A client for OCI distribution registries.
