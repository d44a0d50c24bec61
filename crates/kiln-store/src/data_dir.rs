//! The data folder's layout.
//!
//! ```text
//! DATA/                 0700
//!   layout              the number of this layout
//!   kiln.lock           held by the process that works with the folder
//!   kiln.db, -wal, -shm the records
//!   secret.key          0600, opens the stored credentials
//!   blobs/sha256/ab/HEX packages and wheels, by content
//!   logs/ID.jsonl       the logs of builds
//!   work/ID/            work in progress; emptied at start
//!   uploads/ID          an upload that a registry keeps open; ended at start
//!   tools/              the pinned resolver
//!   cache/              what can be fetched again: repodata, indexes
//! ```

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::StoreError;

/// The layout that this kiln reads and writes.
const LAYOUT: u32 = 1;

/// Paths of a data folder that exists.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

impl DataDir {
    /// Makes what is missing; only the owner may look inside.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let data = Self { root: root.into() };
        let private = |folder: &Path| {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
        };
        private(&data.root).map_err(StoreError::file(&data.root))?;
        data.check_layout()?;
        for folder in [
            data.blobs(),
            data.logs(),
            data.work(),
            data.uploads(),
            data.tools(),
            data.cache(),
        ] {
            private(&folder).map_err(StoreError::file(&folder))?;
        }
        fs::set_permissions(&data.root, std::fs::Permissions::from_mode(0o700))
            .map_err(StoreError::file(&data.root))?;
        Ok(data)
    }

    /// Refuses the layout of another kiln; a new folder gets this one's.
    fn check_layout(&self) -> Result<(), StoreError> {
        let path = self.root.join("layout");
        match fs::read_to_string(&path) {
            Ok(found) if found.trim() == LAYOUT.to_string() => Ok(()),
            Ok(found) => Err(StoreError::Layout {
                path: self.root.clone(),
                found: format!("`{}`", found.trim().escape_default()),
                known: LAYOUT,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let written = tempfile::NamedTempFile::new_in(&self.root).and_then(|mut file| {
                    std::io::Write::write_all(&mut file, format!("{LAYOUT}\n").as_bytes())?;
                    file.as_file().sync_all()?;
                    file.persist(&path).map_err(|error| error.error)
                });
                written.map(drop).map_err(StoreError::file(&path))
            }
            Err(error) => Err(StoreError::file(&path)(error)),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Uploads that registries keep open.
    pub fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("kiln.db")
    }

    /// The key of the stored credentials.
    pub fn secret_key(&self) -> PathBuf {
        self.root.join("secret.key")
    }

    /// Packages and wheels.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// The logs of builds.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Work in progress.
    pub fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Tools that kiln fetched.
    pub fn tools(&self) -> PathBuf {
        self.root.join("tools")
    }

    /// What can be fetched again.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Removes work that an earlier process left behind.
    pub fn sweep(&self) -> Result<(), StoreError> {
        let work = self.work();
        for entry in fs::read_dir(&work).map_err(StoreError::file(&work))? {
            let path = entry.map_err(StoreError::file(&work))?.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(StoreError::file(&path))?;
        }
        Ok(())
    }
}
