//! Files that nobody works with any more: what a crash or a fault left in the data folder.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use fs_err as fs;
use kiln_store::DataDir;

/// A file, or a folder with all in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) path: PathBuf,
    pub(crate) size_bytes: u64,
}

/// What temporary files and folders start with that are written beside what lasts.
const TEMPORARY: &str = ".tmp";

/// Work folders, by the build's id, and temporary files, all unchanged since then. Whether a build
/// still works is for the caller to say.
pub(crate) fn find(data: &DataDir, before: SystemTime) -> std::io::Result<Vec<Leftover>> {
    let temporary = |name: &OsStr| name.to_string_lossy().starts_with(TEMPORARY);
    let mut found = Vec::new();
    for (folder, wanted) in [
        (data.work(), None),
        (data.blobs().join("tmp"), None),
        (data.tools(), Some(&temporary as &dyn Fn(&OsStr) -> bool)),
        (data.root().to_owned(), Some(&temporary)),
    ] {
        for entry in entries(&folder)? {
            let named = wanted.is_none_or(|wanted| {
                let name = entry.file_name();
                name.is_some_and(wanted)
            });
            if !named {
                continue;
            }
            // One that was removed since is nobody's.
            if let Some(size_bytes) = unchanged_size(&entry, before)? {
                let path = entry;
                found.push(Leftover { path, size_bytes });
            }
        }
    }
    Ok(found)
}

/// Removes one; what is gone already is removed.
pub(crate) fn remove(leftover: &Leftover) -> std::io::Result<()> {
    let path = &leftover.path;
    let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    let removed = if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn entries(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The size of what was not changed since then, with all in it; links are not followed.
fn unchanged_size(path: &Path, before: SystemTime) -> std::io::Result<Option<u64>> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if metadata.modified()? > before {
        return Ok(None);
    }
    let mut size_bytes = metadata.len();
    if metadata.is_dir() {
        size_bytes = 0;
        for entry in entries(path)? {
            match unchanged_size(&entry, before)? {
                Some(size) => size_bytes += size,
                None if entry.exists() => return Ok(None),
                None => {}
            }
        }
    }
    Ok(Some(size_bytes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_was_left_goes_and_what_lasts_or_changes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(folder.path()).unwrap();
        let write = |path: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "12345").unwrap();
        };
        let left = ["blobs/tmp/x", "tools/.tmpA/uv", "work/build/deep/layer"];
        let lasts = ["tools/uv-1/uv", "blobs/sha256/ab/cd", "cache/.tmp", "other"];
        for path in left.iter().chain(&lasts) {
            write(path);
        }
        let hour = Duration::from_hours(1);
        let now = SystemTime::now();
        assert_eq!(find(&data, now - hour).unwrap(), [], "all is in use");
        let found = find(&data, now + hour).unwrap();
        let paths = found.iter().map(|one| {
            let path = one.path.strip_prefix(folder.path()).unwrap();
            (path.to_str().unwrap(), one.size_bytes)
        });
        let expected = [("work/build", 5), ("blobs/tmp/x", 5), ("tools/.tmpA", 5)];
        assert_eq!(paths.collect::<Vec<_>>(), expected);
        for one in found.iter().chain(&found) {
            remove(one).unwrap();
        }
        assert_eq!(find(&data, now + hour).unwrap(), []);
        let deep = std::fs::File::create(folder.path().join("work/young"));
        deep.unwrap().set_modified(now + 2 * hour).unwrap();
        assert_eq!(find(&data, now + hour).unwrap(), []);
    }
}
