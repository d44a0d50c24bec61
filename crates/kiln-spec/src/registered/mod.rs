//! Environments as a registry of them keeps them: names, versions, documents without credentials, and
//! when two documents are equal.

mod add;
mod build_tree;
mod digest;
mod names;
mod scrub;
mod sections;
mod stored;
mod view;

pub use add::AddPackagesError;
pub use digest::{DocumentDigest, ParseDocumentDigestError};
pub use names::{
    EnvironmentName, EnvironmentReference, EnvironmentVersion, LATEST, Label, NameError, Which,
    next_version,
};
pub use stored::StoredDocument;
