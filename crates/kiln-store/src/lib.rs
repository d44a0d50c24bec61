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
pub use records::{
    Builds, Commits, Credentials, Events, Failures, Hooks, Images, Queue, Records, Requests,
};
pub use rows::{
    BuildRow, Callback, ClaimedBuild, CredentialRow, Delivery, DeliveryRow, DeliveryState,
    EventRow, EventType, Finish, FoundImage, HookRow, ImageRow, NewBuild, NewEvent, NewHook,
    NewImage, ParseEventTypeError, Received, Remember, RememberedFailure, Replay, RequestKey,
    Started, Target, Terms, UntaggedImage,
};
pub use scope::{ParseScopeError, Scope};
pub use sqlite::SqliteRecords;
pub use store::Store;
