//! Webhooks: messages that come in, subscriptions, and events that go out.

mod deliver;
mod egress;
mod incoming;
mod manage;

use kiln_engine::OnBaseChange;
use kiln_events::SigningSecret;

pub use deliver::deliver_events;
pub use egress::{Egress, Networks};
pub(crate) use incoming::receive;
pub(crate) use manage::{
    __path_add, __path_add_secret, __path_enable, __path_list, __path_remove, __path_remove_secret,
    __path_replay, __path_test, add, add_secret, enable, list, remove, remove_secret, replay, test,
};

/// Settings of webhooks.
#[derive(Debug, Clone, Default)]
pub struct HookSettings {
    /// Who may send messages.
    pub sources: Vec<Source>,
    /// The live secrets that messages to callbacks are signed with, newest first.
    pub callback_secrets: Vec<SigningSecret>,
}

/// A sender of messages, `/v1/hooks/{name}`.
#[derive(Debug, Clone)]
pub struct Source {
    /// Its name in the path.
    pub name: String,
    /// What its messages are.
    pub kind: SourceKind,
    /// The workspace they are for.
    pub workspace: String,
    /// Its live secrets; without any, a token is needed.
    pub secrets: Vec<SigningSecret>,
}

/// What messages are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceKind {
    /// Requests for builds.
    Build,
    /// Notifications of a container registry.
    Registry(OnBaseChange),
}
