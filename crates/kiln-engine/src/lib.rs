//! Get-or-create of images: single flight, states, failure classes, events.

mod backend;

pub use backend::{Archives, Backend, BuildJob, Built, PullSecret, Reporter, Step, Unit};
