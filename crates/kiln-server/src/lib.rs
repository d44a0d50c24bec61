//! kiln's HTTP server.
