//! What the records hold and answer.

mod builds;
mod credentials;
mod images;
mod requests;

pub use builds::{BuildRow, ClaimedBuild, NewBuild, Remember, RememberedFailure, Started, Terms};
pub use credentials::CredentialRow;
pub use images::{Finish, FoundImage, ImageRow, NewImage};
pub use requests::{Received, RequestKey};
