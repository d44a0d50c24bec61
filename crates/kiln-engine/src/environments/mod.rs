//! Named environments of workspaces: registered, read, compared.

mod change;
mod curated;
mod diff;
mod read;
mod register;
mod reproduce;
mod sides;

pub use change::Archived;
pub use curated::DefaultEnvironment;
pub use diff::{Side, compare};
pub use read::{VersionPage, image_of};
pub use register::{NewVersion, RegisteredVersion};

pub(crate) use curated::{Curated, DEFAULT};
pub(crate) use diff::{base_change, differences, locked_base, package_changes};
pub(crate) use register::{KnownDocuments, Registration};
