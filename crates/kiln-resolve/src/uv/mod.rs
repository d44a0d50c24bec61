//! The PyPI resolver: the pinned `uv` binary, driven without letting any package's code run.

mod environment;
mod installed;
mod outcome;
mod pylock;
mod requirements;
mod resolve;
mod tool;

pub use environment::{NetworkSettings, ProcessSettings};
pub use installed::Installed;
pub use requirements::IndexDefaults;
pub use resolve::{PypiError, PypiErrorKind};
pub(crate) use resolve::{PypiRequest, resolve};
pub use tool::{UV_VERSION, UvSettings, UvTool, UvToolError};
