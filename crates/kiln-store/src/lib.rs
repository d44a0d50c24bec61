//! What kiln keeps: records in SQLite, and content-addressed blobs.
//!
//! The records stand behind the trait [`Records`]; every implementation passes the same contract suite.

mod blobs;
mod clock;
mod collect;
mod data_dir;
mod error;
mod links;
mod model_names;
mod records;
mod rows;
mod run_names;
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

pub use blobs::{BlobWriter, Blobs, PutBlobError, StoredBlob};
pub use clock::{Clock, ManualClock, Moment, SystemClock};
pub use collect::{Collected, CollectibleBlob, CollectionPlan};
pub use data_dir::DataDir;
pub use error::{StoreError, StoreErrorKind};
pub use links::LinkSigner;
pub use model_names::{FilePath, ModelName, ParseFilePathError, ParseModelNameError};
pub use records::{
    Builds, Collection, Commits, Contexts, Credentials, Environments, Events, Failures, Hooks,
    Images, Layers, Locks, Models, Queue, Records, Requests, Runs, TakeAway, Wheels,
};
pub use rows::LayerRow;
pub use rows::{Action, Done, EnvironmentRow, HistoryRow, NameFilter, NewEnvironment, Registered};
pub use rows::{
    Answer, BaseName, BaseOrigin, BlobRow, BuildRow, Callback, ClaimedBuild, CredentialRow,
    Delivery, DeliveryRow, DeliveryState, EventRow, EventType, Finish, FoundImage, HookRow,
    IdleLock, ImageRow, KnownImage, NewBuild, NewEvent, NewHook, NewImage, ParseEventTypeError,
    Received, Remember, RememberedFailure, Replay, RequestKey, Started, Target, Terms,
};
pub use rows::{
    BegunRun, ExperimentRow, NewRun, RunChange, RunEnvironment, RunError, RunFile, RunFilter,
    RunMetric, RunRow, RunStatus,
};
pub use rows::{ContextRow, NewContext};
pub use rows::{KeptWheel, NewWheel, WheelRow};
pub use rows::{ModelFile, ModelFilter, ModelNotes, ModelRow, NewModel};
pub use run_names::{ExperimentName, ParseRunNameError, RunId};
pub use scope::{ParseScopeError, Scope};
pub use sqlite::SqliteRecords;
pub use store::Store;
