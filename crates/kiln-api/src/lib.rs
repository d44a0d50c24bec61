//! Request and response types of kiln's native HTTP API.
