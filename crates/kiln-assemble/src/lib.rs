//! Images without a container engine: a base's layers, one reproducible layer for each package above them.
//!
//! How packages become layers, and why, stands in `docs/layering.md`.

mod archive;
mod backend;
mod error;
mod image;
mod layers;
mod packages;
mod push;
mod replaced;
mod venv;

pub use backend::AssembleBackend;
pub use error::{AssembleError, Obstacle};
pub use packages::{PREFIX, Package, Packages};
