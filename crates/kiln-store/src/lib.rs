//! What kiln keeps: records in SQLite, and content-addressed blobs.
//!
//! The records stand behind the trait [`Records`]; every implementation passes the same contract suite.

mod blobs;
mod clock;
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
#[cfg(test)]
mod many_builds;

pub use blobs::{Blobs, PutBlobError};
pub use clock::{Clock, ManualClock, Moment, SystemClock};
pub use data_dir::DataDir;
pub use error::{StoreError, StoreErrorKind};
pub use records::{Builds, Credentials, Failures, Images, Queue, Records, Requests};
pub use rows::{
    BuildRow, ClaimedBuild, CredentialRow, Finish, FoundImage, ImageRow, NewBuild, NewImage,
    Received, Remember, RememberedFailure, RequestKey, Started, Terms,
};
pub use scope::{ParseScopeError, Scope};
pub use sqlite::SqliteRecords;
pub use store::Store;
