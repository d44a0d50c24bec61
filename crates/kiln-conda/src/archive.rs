//! Reads from a conda archive which Python distributions it installs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use serde::Deserialize;

/// The most that `info/paths.json` may hold; the largest real ones have some tens of megabytes.
const MOST_PATHS: u64 = 256 * 1024 * 1024;
/// The most that is read of an old archive in search of its `info` folder.
const MOST_SCANNED: u64 = 8 * 1024 * 1024 * 1024;

/// The most that is kept of one distribution's metadata; its header is far smaller.
const MOST_METADATA: u64 = 1024 * 1024;

/// A Python distribution inside a conda package, as its `.dist-info` or `.egg-info` names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distribution {
    /// The PEP 503 name.
    pub name: String,
    /// The version as written.
    pub version: String,
    /// The header of its `METADATA` (core metadata), without the description.
    pub metadata: Option<String>,
}

/// Says why an archive's list of files can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadArchiveError {
    /// The file can't be read.
    #[error("reading the archive failed")]
    Io(#[from] io::Error),
    /// It is no `.conda` archive.
    #[error("the archive is no zip file")]
    Zip(#[from] zip::result::ZipError),
    /// `info/paths.json` is not readable.
    #[error("the archive's info/paths.json is not readable")]
    Paths(#[source] serde_json::Error),
    /// There is no list of files.
    #[error("the archive has neither info/paths.json nor info/files")]
    NoList,
}

/// The Python distributions of a fetched `.conda` or `.tar.bz2` archive, sorted, unique.
///
/// Names come from the file list (`info/paths.json`, or `info/files` in old archives) and no name is
/// guessed from the conda package's own; only where there are any, their metadata is read too. Nothing
/// is unpacked.
pub fn python_distributions(
    archive: &Path,
    file_name: &str,
) -> Result<Vec<Distribution>, ReadArchiveError> {
    let old = file_name.ends_with(".tar.bz2");
    let paths = with_part(archive, old, "info-", listed_paths)?;
    let mut found: BTreeMap<String, Distribution> = paths
        .iter()
        .filter_map(|path| Some((path.clone(), distribution(path)?)))
        .collect();
    if !found.is_empty() {
        with_part(archive, old, "pkg-", |tar| read_metadata(tar, &mut found))?;
    }
    let unique: BTreeSet<Distribution> = found.into_values().collect();
    Ok(unique.into_iter().collect())
}

/// Opens a part of an archive; an old one has a single part.
fn with_part<T>(
    archive: &Path,
    old: bool,
    part: &str,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ReadArchiveError>,
) -> Result<T, ReadArchiveError> {
    let file = BufReader::new(File::open(archive)?);
    if old {
        let reader = bzip2::bufread::MultiBzDecoder::new(file);
        return read(&mut reader.take(MOST_SCANNED));
    }
    let mut zip = zip::ZipArchive::new(file)?;
    let name = zip
        .file_names()
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .find(|name| name.starts_with(part) && name.ends_with(".tar.zst"))
        .ok_or(ReadArchiveError::NoList)?;
    let mut decoder = zstd::stream::read::Decoder::new(zip.by_name(&name)?)?;
    decoder.window_log_max(27)?;
    read(&mut decoder.take(MOST_SCANNED))
}

/// Reads the headers of the distributions' `METADATA` files, until all are found.
fn read_metadata(
    tar: &mut dyn Read,
    wanted: &mut BTreeMap<String, Distribution>,
) -> Result<(), ReadArchiveError> {
    let mut left = wanted
        .keys()
        .filter(|path| path.ends_with("/METADATA"))
        .count();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries()? {
        if left == 0 {
            break;
        }
        let entry = entry?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if let Some(distribution) = wanted
            .get_mut(&path)
            .filter(|_| path.ends_with("/METADATA"))
        {
            let mut bytes = Vec::new();
            entry.take(MOST_METADATA).read_to_end(&mut bytes)?;
            let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
            let header = text.split("\n\n").next().unwrap_or_default();
            distribution.metadata = Some(format!("{}\n", header.trim_end()));
            left -= 1;
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct PathsJson {
    paths: Vec<PathsEntry>,
}

#[derive(Deserialize)]
struct PathsEntry {
    #[serde(rename = "_path")]
    path: String,
}

fn listed_paths(tar: &mut dyn Read) -> Result<Vec<String>, ReadArchiveError> {
    let mut archive = tar::Archive::new(tar);
    let mut files = None;
    for entry in archive.entries()? {
        let entry = entry?;
        let path = entry.path_bytes().into_owned();
        match path.as_slice() {
            b"info/paths.json" => {
                let json: PathsJson = serde_json::from_reader(entry.take(MOST_PATHS))
                    .map_err(ReadArchiveError::Paths)?;
                return Ok(json.paths.into_iter().map(|entry| entry.path).collect());
            }
            b"info/files" => {
                let mut text = String::new();
                entry.take(MOST_PATHS).read_to_string(&mut text)?;
                files = Some(text.lines().map(str::to_owned).collect());
            }
            _ => {}
        }
    }
    files.ok_or(ReadArchiveError::NoList)
}

/// `[lib/python3.X/]site-packages/NAME-VERSION.dist-info/METADATA`, or an egg's `PKG-INFO`.
fn distribution(path: &str) -> Option<Distribution> {
    let mut parts = path.rsplit('/');
    let file = parts.next()?;
    let folder = parts.next()?;
    let (stem, parent) = match file {
        "METADATA" => (folder.strip_suffix(".dist-info")?, parts.next()?),
        "PKG-INFO" => (folder.strip_suffix(".egg-info")?, parts.next()?),
        _ => (file.strip_suffix(".egg-info")?, folder),
    };
    if parent != "site-packages" {
        return None;
    }
    let (name, rest) = stem.split_once('-')?;
    // Eggs append `-py3.11` to the version.
    let version = rest.split("-py").next()?;
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'!'))
    };
    (plain(name) && plain(version)).then(|| Distribution {
        name: pep503(name),
        version: version.to_owned(),
        metadata: None,
    })
}

/// The PEP 503 form of a distribution's name.
fn pep503(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            _ => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_read_from_their_metadata_folders() {
        let one = |path: &str| distribution(path).map(|d| format!("{} {}", d.name, d.version));
        for (path, expected) in [
            (
                "site-packages/requests-2.31.0.dist-info/METADATA",
                Some("requests 2.31.0"),
            ),
            (
                "lib/python3.11/site-packages/Mixed.Case_Name-1.0.dist-info/METADATA",
                Some("mixed-case-name 1.0"),
            ),
            (
                "lib/python3.11/site-packages/old-1.2-py3.11.egg-info/PKG-INFO",
                Some("old 1.2"),
            ),
            (
                "lib/python3.11/site-packages/flat-3.egg-info",
                Some("flat 3"),
            ),
            ("site-packages/requests-2.31.0.dist-info/RECORD", None),
            ("site-packages/requests/vendored-1.dist-info/METADATA", None),
            ("share/doc/x-1.dist-info/METADATA", None),
            ("METADATA", None),
            ("site-packages/\u{7}x-1.dist-info/METADATA", None),
        ] {
            assert_eq!(one(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn an_old_archive_is_read_through_bzip2() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a-1-0.tar.bz2");
        let file = File::create(&path).expect("a file");
        let mut tar = tar::Builder::new(bzip2::write::BzEncoder::new(
            file,
            bzip2::Compression::fast(),
        ));
        let files = b"lib/python3.11/site-packages/aaa-1.0.dist-info/METADATA\n";
        let mut header = tar::Header::new_ustar();
        header.set_size(files.len() as u64);
        header.set_cksum();
        tar.append_data(&mut header, "info/files", files.as_slice())
            .expect("an entry");
        tar.into_inner()
            .and_then(bzip2::write::BzEncoder::finish)
            .expect("an archive");
        let found = python_distributions(&path, "a-1-0.tar.bz2").expect("it is readable");
        assert_eq!(
            found,
            [Distribution {
                name: "aaa".into(),
                version: "1.0".into(),
                metadata: None,
            }]
        );
    }

    #[test]
    fn garbage_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x");
        std::fs::write(&path, b"no archive").expect("a file");
        assert!(python_distributions(&path, "x.conda").is_err());
        assert!(python_distributions(&path, "x.tar.bz2").is_err());
    }
}
