//! An archive is hashed before it is linked: what lies on a disk for months may rot.

use std::io::Read as _;
use std::path::Path;

use kiln_oci::Digest;
use sha2::{Digest as _, Sha256};

use crate::error::AssembleError;

/// Compares an archive with the lock.
pub(crate) fn verify(path: &Path, file: &str, expected: &Digest) -> Result<(), AssembleError> {
    let found = digest(path).map_err(AssembleError::io("reading an archive"))?;
    if found == *expected {
        return Ok(());
    }
    Err(AssembleError::Archive {
        file: file.to_owned(),
        expected: *expected,
        found,
    })
}

/// The digest of a file.
pub(crate) fn digest(path: &Path) -> std::io::Result<Digest> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = match file.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
    }
}
