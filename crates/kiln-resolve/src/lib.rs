//! Resolves a definition to a lock: the base image and its facts, conda packages, wheels.
//!
//! Nothing of a package runs on the host: conda packages are solved in process, the pip section by the
//! pinned `uv` with wheels alone. Settings are parameters; the crate reads no environment variable, no
//! home folder and no working folder.

mod archives;
mod base;
mod catalog;
mod dockerfile_from;
mod error;
mod facts;
mod fetch;
mod passed_over;
mod private_wheels;
mod python;
mod resolver;
mod simple_index;
mod tags;
mod target;
mod uv;

pub use archives::{ArchiveStore, ArchiveStream, HoldError, PutError};
pub use base::{FactsCache, FactsError};
pub use catalog::{BaseChoice, Catalog, CatalogError, Mirror};
pub use error::ResolveError;
pub use fetch::{Archive, FetchError, FetchProgress, Fetcher, archives};
pub use kiln_conda::{
    ChannelSettings, CondaError, Credential, Credentials, Offer, Secret, SolverSettings, UrlSecret,
};
pub use private_wheels::{NoPrivateWheels, PrivateWheel, PrivateWheels};
pub use python::PythonError;
pub use resolver::{Phase, Progress, ResolveRequest, Resolved, Resolver, ResolverConfig, Timeouts};
pub use simple_index::IndexPageError;
pub use tags::{TagRanks, WheelName};
pub use uv::{
    IndexDefaults, Installed, NetworkSettings, ProcessSettings, PypiError, PypiErrorKind,
    UV_VERSION, UvSettings, UvTool, UvToolError,
};
