//! What kiln keeps: records in SQLite, and content-addressed blobs.
//!
//! The records stand behind the trait [`Records`]; every implementation passes the same contract suite.

mod blobs;
mod data_dir;
mod error;
mod records;
mod rows;
mod scope;
mod sealed;
mod sqlite;
mod store;

#[cfg(test)]
mod contract;
#[cfg(test)]
mod durability;

pub use blobs::{Blobs, PutBlobError};
pub use data_dir::DataDir;
pub use error::{StoreError, StoreErrorKind};
pub use records::Records;
pub use rows::{
    BuildRow, CredentialRow, Finish, FoundImage, ImageRow, NewBuild, NewImage, RememberedFailure,
    Started,
};
pub use scope::{ParseScopeError, Scope};
pub use sqlite::SqliteRecords;
pub use store::Store;
