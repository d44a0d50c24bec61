//! What the records hold and answer.

mod builds;
mod credentials;
mod events;
mod images;
mod requests;

pub use builds::{BuildRow, ClaimedBuild, NewBuild, Remember, RememberedFailure, Started, Terms};
pub use credentials::CredentialRow;
pub use events::{
    Callback, Delivery, DeliveryRow, DeliveryState, EventRow, EventType, HookRow, NewEvent,
    NewHook, ParseEventTypeError, Replay, Target,
};
pub use images::{Finish, FoundImage, ImageRow, NewImage, UntaggedImage};
pub use requests::{Received, RequestKey};
