//! Why the store could not do something.

use std::path::PathBuf;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused or failed.
    #[error("the database of kiln could not {what}")]
    Database {
        /// What it was asked to do.
        what: &'static str,
        /// Its answer.
        #[source]
        source: sqlx::Error,
    },
    /// Its form is not the one this kiln knows.
    #[error("the database of kiln could not be brought up to date")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// A file or folder could not be used.
    #[error("kiln could not use {}", path.display())]
    File {
        /// The path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// What is stored contradicts itself.
    #[error("{0}")]
    Integrity(String),
    /// A build can't be moved to such a state.
    #[error("a build can't be moved to the state `{0}`")]
    State(String),
    /// The data folder was laid out by a kiln that knows more.
    #[error("the data folder {} has the layout {found}, this kiln knows {known}: use the kiln that made it, or a newer one", path.display())]
    Layout {
        /// The folder.
        path: PathBuf,
        /// What the folder says.
        found: String,
        /// What this kiln writes.
        known: u32,
    },
    /// A text that kiln wrote can't be read back.
    #[error("a row of kind {what} is not readable")]
    Row {
        /// The kind of row.
        what: &'static str,
    },
}

/// What a failure means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No space is left.
    Disk,
    /// Another process holds the database.
    Busy,
    /// What is stored is damaged.
    Integrity,
    /// All else.
    Internal,
}

/// SQLite's primary result codes (sqlite.org/rescode.html).
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_PROTOCOL: i32 = 15;
const SQLITE_NOTADB: i32 = 26;

impl StoreError {
    pub(crate) fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { what, source }
    }

    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }

    /// What it means.
    pub fn kind(&self) -> StoreErrorKind {
        match self {
            Self::Database { source, .. }
            | Self::Migrate(sqlx::migrate::MigrateError::Execute(source)) => of_sqlx(source),
            Self::Migrate(_) | Self::State(_) | Self::Layout { .. } => StoreErrorKind::Internal,
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    StoreErrorKind::Disk
                }
                _ => StoreErrorKind::Internal,
            },
            Self::Integrity(_) | Self::Row { .. } => StoreErrorKind::Integrity,
        }
    }

    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind(), StoreErrorKind::Disk | StoreErrorKind::Busy)
    }
}

fn of_sqlx(error: &sqlx::Error) -> StoreErrorKind {
    match error {
        sqlx::Error::PoolTimedOut => StoreErrorKind::Busy,
        sqlx::Error::Database(database) => {
            let code = database
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .unwrap_or(0);
            match code & 0xff {
                SQLITE_BUSY | SQLITE_LOCKED | SQLITE_PROTOCOL => StoreErrorKind::Busy,
                SQLITE_FULL => StoreErrorKind::Disk,
                SQLITE_CORRUPT | SQLITE_NOTADB => StoreErrorKind::Integrity,
                // SQLITE_IOERR stands for a full disk too, where the file system says so late.
                _ if database.message().contains("disk is full") => StoreErrorKind::Disk,
                _ => StoreErrorKind::Internal,
            }
        }
        sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            StoreErrorKind::Disk
        }
        _ => StoreErrorKind::Internal,
    }
}
