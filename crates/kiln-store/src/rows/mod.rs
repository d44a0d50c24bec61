//! What the records hold and answer.

mod builds;
mod collection;
mod contexts;
mod credentials;
mod environments;
mod events;
mod images;
mod layers;
mod models;
mod requests;
mod runs;
mod wheels;

pub use builds::{BuildRow, ClaimedBuild, NewBuild, Remember, RememberedFailure, Started, Terms};
pub use collection::{BlobRow, IdleLock};
pub use contexts::{ContextRow, NewContext};
pub use credentials::CredentialRow;
pub use environments::{
    Action, Done, EnvironmentRow, HistoryRow, NameFilter, NewEnvironment, Registered,
};
pub use events::{
    Callback, Delivery, DeliveryRow, DeliveryState, EventRow, EventType, HookRow, NewEvent,
    NewHook, ParseEventTypeError, Replay, Target,
};
pub use images::{BaseName, BaseOrigin, Finish, FoundImage, ImageRow, KnownImage, NewImage};
pub use layers::LayerRow;
pub use models::{ModelFile, ModelFilter, ModelNotes, ModelRow, NewModel};
pub(crate) use requests::end_of;
pub use requests::{Answer, Received, RequestKey};
pub use runs::{
    BegunRun, ExperimentRow, NewRun, RunChange, RunEnvironment, RunError, RunFile, RunFilter,
    RunMetric, RunRow, RunStatus,
};
pub use wheels::{KeptWheel, NewWheel, WheelRow};
