//! Parses, validates, canonicalises and hashes environment descriptions: pure, offline, the same
//! everywhere. `docs/spec-format.md` is the format; [`parse`] is the way in.

mod address;
mod azureml;
mod base;
mod canonical;
mod channel;
mod conda;
mod definition;
mod detect;
mod document;
mod error;
mod field_table;
mod input;
mod lookalike;
mod marker;
mod match_spec;
mod registered;
mod requirement;
mod requirements;
mod secret;
mod selector;
mod spec_hash;
mod text;
mod variables;
mod version;

pub use canonical::ParseCanonicalError;
pub use definition::{
    Base, Conda, DefaultBase, Definition, Pip, PipRequirement, Python, RSection, STORED_CONTEXT,
    Spark,
};
pub use error::{SpecError, SpecErrors, Warning};
pub use field_table::{Condition, Enters, FIELDS, Field, field_table};
pub use input::{
    DOCUMENT_LIMIT_BYTES, Input, Kind, Overrides, ParseKindError, Parsed, parse, text_of,
};
pub use registered::{
    AddPackagesError, DocumentDigest, EnvironmentName, EnvironmentReference, EnvironmentVersion,
    LATEST, Label, NameError, ParseDocumentDigestError, StoredDocument, Which, next_version,
};
pub use requirements::option_table;
pub use secret::{CredentialForm, CredentialTarget, InlineCredential, Secret};
pub use spec_hash::{ParseSpecHashError, SpecHash};
pub use text::DecodeError;
