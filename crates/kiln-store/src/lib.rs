//! Records of kiln in SQLite, and its content-addressed blobs.
