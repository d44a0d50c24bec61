//! The one integration test binary.

mod api;
mod cache;
mod conda;
mod eject;
mod faults;
mod layers;
mod pip;
mod refresh;
mod secrets;
mod user_managed;
