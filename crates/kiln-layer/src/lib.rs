//! Packages as deterministic layers, made once each.
//!
//! A package is linked for a constant prefix straight into a [layer of its own](PackageWriter); layers of several
//! packages are [put together](write_group) from the same bytes. The format, and why it is what it is, stands in
//! `docs/layering.md`.

mod compress;
mod directories;
mod group;
mod header;
mod key;
mod member;
mod ownership;
mod package;
mod plan;
mod small;
#[cfg(test)]
mod tests;

pub use compress::{Compressors, MEMBER_BYTES};
pub use directories::Directories;
pub use group::{GroupError, write_group};
pub use key::LayerKey;
pub use member::{MemberWriter, Packed};
pub use ownership::{Kept, Ownership, PackagePaths, PathConflict};
pub use package::{EntryError, Layer, PackageLayer, PackageWriter};
pub use plan::{LARGE_BYTES, LayerBudget, MAX_LAYERS, Planned, TooManyLayers, plan_layers};
pub use small::{SmallEntry, small_layer};

/// The version of what a package looks like in a layer: it grows when the same package would become other bytes.
pub const LAYER_FORMAT_VERSION: u32 = 1;
