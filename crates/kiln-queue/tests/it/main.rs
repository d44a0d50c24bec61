//! The queue against a real broker, which each test starts for itself and some kill.
#![expect(clippy::unwrap_used, reason = "the parts of tests fail as tests do")]

mod access;
mod bench;
mod broker;
mod dead_letters;
mod intake;
mod replies;
mod restarts;
mod topology;
