//! The client against a registry that does as it is told, good or bad, and against a real one.
#![expect(
    clippy::disallowed_methods,
    reason = "a fake's server is owned by its handle"
)]
#![expect(clippy::unwrap_used, reason = "the parts of tests fail as tests do")]

mod auth;
mod fake;
mod hostile;
mod images;
mod journal;
mod probe;
mod pull;
mod push;
mod real;
mod retries;
mod tags;
