//! Parses, validates, canonicalises and hashes environment descriptions.

mod definition;
mod spec_hash;

pub use definition::{
    Base, Conda, DefaultBase, Definition, Pip, PipRequirement, Python, RSection, Spark,
};
pub use spec_hash::{ParseSpecHashError, SpecHash};
