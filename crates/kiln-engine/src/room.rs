//! Space on the disk of the data folder.

use std::path::Path;

/// The bytes that may still be written where a path lies.
pub(crate) fn free_bytes(path: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
