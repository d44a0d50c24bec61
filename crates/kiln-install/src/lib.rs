//! Installs a lock inside a container build step.
//!
//! [`install`] takes a lock and a folder with its archives and makes the environment at a prefix:
//! it verifies every archive, links the conda packages as conda would, runs their post-link scripts,
//! makes a venv where the python is the base's, links the wheels as pip would, and byte-compiles.
//! It runs as root inside the image that is being built, where package scripts may run; it needs no
//! python of its own, no network and no async runtime, and its binary links statically.
//!
//! # The program
//!
//! ```text
//! kiln-install --lock FILE --archives DIR --prefix DIR [--python-from-base PATH] [--compile]
//! ```
//!
//! Archives stand in the folder under the lock's file names. Standard output carries one JSON object
//! a line: `{"step": "link", "done": 3, "total": 22}`, at last `{"step": "finished", ...}` with
//! figures or `{"step": "failed", "class": ..., "message": ...}`, whose classes are those of a
//! build's failure. Standard error carries text for people. The exit code is 0, 1 for a failure, 64
//! for wrong arguments.

mod archives;
mod compile;
mod error;
mod history;
mod install;
mod order;
mod parallel;
mod progress;
pub mod requests;
mod scripts;
mod venv;

pub use error::InstallError;
pub use history::text as history_text;
pub use install::{Bytecode, InstallOptions, install};
pub use parallel::each as in_parallel;
pub use progress::{Progress, Reporter, Step, Summary};
