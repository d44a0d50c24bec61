//! Wheels.
//!
//! Source: PyPA "Binary distribution format" (PEP 427), "Recording installed projects" (PEP 376,
//! 627), "Entry points", "Platform compatibility tags" (PEP 425); compared with what pip writes,
//! file by file.

mod entry_points;
mod inspect;
mod metadata;
mod name;
mod package;
mod plan;
mod record;
mod script;
mod tags;
#[cfg(test)]
mod tests;

pub(crate) use entry_points::script_names;
pub use inspect::{CheckedWheel, check_wheel};
pub use name::normalised;
pub use package::{WheelPackage, WheelRequest};
pub(crate) use record::parse_csv;
