//! Builds asked for and told of through NATS JetStream.
//!
//! [`Broker`] is the connection, which comes back by itself for ever. [`Queue`] feeds the engine's
//! [`Intake`](kiln_engine::Intake) from a durable consumer; [`Replies`] publishes events to the subjects
//! that requests named.
//!
//! What a publisher may rely on:
//! - A message leaves the queue only when its build is committed, or when it lies in the dead letters with the
//!   reason. Everything in between is delivered again, and the engine knows it by its id.
//! - A message that never can be taken goes to `<stream>.dead`, unchanged, with headers that say why
//!   ([`header`]). So does one that was delivered too often, also when kiln died of it: the broker's advisory
//!   of that is stored in a stream of its own until kiln has dealt with it.
//! - Events go only to subjects below one prefix.
//!
//! A broker syncs its files to the disk every two minutes unless it is told otherwise, so a power cut may cost
//! it what it confirmed last; a crash of its process does not.

mod advisory;
mod broker;
mod dead;
mod delivery;
mod event;
mod intake;
mod pace;
mod queue;
mod replies;
mod settings;
mod subject;
mod topology;

pub use broker::{Broker, ConnectError};
pub use dead::header;
pub use queue::{Health, Queue};
pub use replies::Replies;
pub use settings::{Access, QueueSettings, SettingsError, Tls};
pub use topology::TopologyError;
