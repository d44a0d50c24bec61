//! The one integration test binary.

mod api;
mod cache;
mod conda;
mod eject;
mod faults;
mod layers;
mod pip;
mod refresh;
mod registry_server;
mod secrets;
mod user_managed;
