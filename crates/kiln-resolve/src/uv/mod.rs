//! The PyPI resolver: the pinned `uv` binary, driven without letting any package's code run.

mod environment;
mod error;
mod installed;
mod outcome;
mod private;
mod pylock;
mod requirements;
mod resolve;
mod run;
mod select;
mod tool;

pub use environment::{NetworkSettings, ProcessSettings};
pub use error::{PypiError, PypiErrorKind};
pub use installed::Installed;
pub(crate) use private::private;
pub use requirements::IndexDefaults;
pub(crate) use resolve::{PypiRequest, resolve};
pub use tool::{UV_VERSION, UvSettings, UvTool, UvToolError};
