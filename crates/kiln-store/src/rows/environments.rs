//! Named environments.

use kiln_spec::{
    DocumentDigest, EnvironmentName, EnvironmentVersion, Label, SpecHash, StoredDocument,
};

use crate::error::StoreError;

/// A version of an environment; it never changes but for its generation, labels and archival.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentRow {
    /// Its name.
    pub name: EnvironmentName,
    /// Its version.
    pub version: EnvironmentVersion,
    /// Its document, without credentials.
    pub document: StoredDocument,
    /// What decides whether another document is the same.
    pub digest: DocumentDigest,
    /// The definition: versions and names that share it share the image.
    pub spec_hash: SpecHash,
    /// The generation of the definition that was current when the version was made, or else the first
    /// that was ready after that.
    pub generation: Option<u64>,
    /// Labels that somebody set, sorted.
    pub labels: Vec<Label>,
    /// Whether it is the newest that is not archived.
    pub is_latest: bool,
    /// When it, or its whole name, was archived, milliseconds since the Unix epoch.
    pub archived_ms: Option<i64>,
    /// Who made it.
    pub actor: String,
    /// Which way.
    pub via: String,
    /// When, milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A version to register.
#[derive(Debug, Clone)]
pub struct NewEnvironment {
    /// Its name.
    pub name: EnvironmentName,
    /// Its version; none is the next number, or the newest version where that is equal.
    pub version: Option<EnvironmentVersion>,
    /// Its document, without credentials.
    pub document: StoredDocument,
    /// The document's digest.
    pub digest: DocumentDigest,
    /// The definition's canonical JSON.
    pub canonical: String,
    /// The definition.
    pub spec_hash: SpecHash,
    /// What the history says of it.
    pub done: Done,
}

/// Who does something to an environment, which way, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What is done.
    pub action: Action,
    /// What else is to be said, for example the version that was cloned.
    pub detail: Option<String>,
    /// Who.
    pub actor: String,
    /// Which way: `http`, `cli`, ...
    pub via: String,
}

/// What is done to an environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// A version was made of a document.
    Registered,
    /// A version was made by a build of a document with a name.
    Built,
    /// A version was made of what was installed somewhere.
    Imported,
    /// A version was made with the document of another name or workspace.
    Cloned,
    /// A version was made with the document of an older one.
    RolledBack,
    /// Labels were set on a version.
    Labelled,
    /// A label was taken away.
    Unlabelled,
    /// A version, or the whole name, was archived.
    Archived,
    /// A version, or the whole name, was taken back from the archive.
    Restored,
}

impl Action {
    const ALL: [Self; 9] = [
        Self::Registered,
        Self::Built,
        Self::Imported,
        Self::Cloned,
        Self::RolledBack,
        Self::Labelled,
        Self::Unlabelled,
        Self::Archived,
        Self::Restored,
    ];

    /// Its name: lower-case words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Built => "built",
            Self::Imported => "imported",
            Self::Cloned => "cloned",
            Self::RolledBack => "rolled_back",
            Self::Labelled => "labelled",
            Self::Unlabelled => "unlabelled",
            Self::Archived => "archived",
            Self::Restored => "restored",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, StoreError> {
        let found = Self::ALL.into_iter().find(|action| action.as_str() == text);
        found.ok_or(StoreError::Row {
            what: "environment's history",
        })
    }
}

/// What came of a version to register.
#[derive(Debug, Clone)]
pub enum Registered {
    /// It is this new one.
    New(EnvironmentRow),
    /// An equal one is there: the newest, or the one of that version.
    Same(EnvironmentRow),
    /// The version is there with another document; nothing was written.
    Conflict,
}

impl Registered {
    /// The version that has the document.
    pub fn row(self) -> Option<EnvironmentRow> {
        match self {
            Self::New(row) | Self::Same(row) => Some(row),
            Self::Conflict => None,
        }
    }
}

/// Which names a list has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameFilter {
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// Archived names too; and of each name the newest version, archived or not.
    pub archived: bool,
    /// Only names after this one.
    pub after: Option<EnvironmentName>,
    /// At most so many.
    pub limit: u32,
}

/// Something that was done to an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryRow {
    /// Rises with time.
    pub id: i64,
    /// The version; none is the whole name.
    pub version: Option<EnvironmentVersion>,
    /// What was done, by whom and which way.
    pub done: Done,
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
}
