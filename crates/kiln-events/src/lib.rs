//! What comes and goes by webhooks and queues, as data: no I/O.

mod cloud_event;
mod registry;
mod signature;

pub use cloud_event::{CloudEvent, MalformedEvent, REPLY_TO, STRUCTURED};
pub use registry::{Action, RegistryChange, UnknownNotification, registry_changes};
pub use signature::{BadSignature, Signature, SigningSecret, SigningSecretError, verify};

/// The type of a CloudEvent that asks for a build; its data is the body of `POST /v1/builds`.
pub const BUILD_REQUESTED: &str = "io.kiln.build.requested";

/// The type of a CloudEvent that tells of a build or an image: `queued`, `started`, `ready`, `failed`,
/// `cancelled`, `outdated`, `test`.
pub fn event_type(what: &str) -> String {
    format!("io.kiln.build.{what}")
}
