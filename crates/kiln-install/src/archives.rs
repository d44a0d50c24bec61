//! The folder of archives: every one is hashed before the first is opened.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fs_err::File;
use kiln_lock::Lock;
use sha2::{Digest as _, Sha256};

use crate::error::InstallError;
use crate::parallel;

/// An archive's place and the hash that it must have.
pub(crate) struct Archive {
    pub path: PathBuf,
    sha256: String,
}

/// Where the lock's archives should be: conda packages first, then wheels.
pub(crate) fn locate(lock: &Lock, folder: &Path) -> Result<Vec<Archive>, InstallError> {
    let conda = lock
        .conda
        .iter()
        .map(|package| (&package.file_name, &package.sha256));
    let wheels = lock
        .pip
        .iter()
        .map(|wheel| (&wheel.file_name, &wheel.sha256));
    conda
        .chain(wheels)
        .map(|(name, sha256)| {
            let plain =
                !name.contains(['/', '\\', '\0']) && !matches!(name.as_str(), "" | "." | "..");
            if !plain {
                return Err(InstallError::FileName { name: name.clone() });
            }
            Ok(Archive {
                path: folder.join(name),
                sha256: sha256.to_hex(),
            })
        })
        .collect()
}

/// Hashes the archives and compares with the lock.
pub(crate) fn verify(archives: &[Archive], done: impl Fn() + Sync) -> Result<(), InstallError> {
    parallel::each(archives, |archive| {
        let found = hash(&archive.path)?;
        if found != archive.sha256 {
            let (path, expected) = (archive.path.clone(), archive.sha256.clone());
            return Err(InstallError::Hash {
                path,
                expected,
                found,
            });
        }
        done();
        Ok(())
    })
    .map(drop)
}

fn hash(path: &Path) -> Result<String, InstallError> {
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => InstallError::Missing {
            path: path.to_owned(),
        },
        _ => InstallError::Io {
            doing: "opening an archive".to_owned(),
            source,
        },
    })?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file
            .read(&mut buffer)
            .map_err(InstallError::io("reading an archive"))?;
        if n == 0 {
            return Ok(hex::encode(hasher.finalize()));
        }
        hasher.update(&buffer[..n]);
    }
}
