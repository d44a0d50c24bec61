//! The resolver against channels, an index and a registry that the tests serve themselves.
//!
//! `real_conda` alone needs the test bed of `cargo xtask test`.
//! `uv` is the real one: its wheel is fetched once per target folder, by the pinned hash.

mod base;
mod bed;
mod fetch;
mod mixed;
mod pypi;
mod real_conda;
