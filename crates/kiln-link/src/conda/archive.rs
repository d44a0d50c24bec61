//! The two containers of a conda package: its metadata in memory, its files as a stream.

use std::collections::HashMap;
use std::io::{BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use fs_err::File;

use crate::error::{Found, Problem};
use crate::limits::{Bounded, Limits, read_limited};
use crate::path::PrefixPath;
use crate::tar::{TarKind, TarReader};
use crate::zip::Zip;

/// zstd's `--ultra` levels use windows up to 128 MiB; more is refused.
const ZSTD_WINDOW_LOG: u32 = 27;

/// The metadata files that decide how a package is linked.
const WANTED: [&str; 8] = [
    "info/index.json",
    "info/paths.json",
    "info/files",
    "info/has_prefix",
    "info/no_link",
    "info/no_softlink",
    "info/link.json",
    "info/package_metadata.json",
];

/// A package's files as a tar stream.
pub(super) type Files = TarReader<Box<dyn Read + Send>>;

/// A conda package on disk.
pub(super) struct Archive {
    path: PathBuf,
    /// For a `.conda`, where the zip keeps the tar of files.
    files_index: Option<usize>,
    limits: Limits,
    size: u64,
}

/// Metadata files by path, `info/...`.
pub(super) type Metadata = HashMap<String, Vec<u8>>;

impl Archive {
    /// Opens a package by its name's ending, whatever the file is called, and reads its metadata.
    pub(super) fn open(path: &Path, name: &str, limits: Limits) -> Result<(Self, Metadata), Found> {
        let file = File::open(path).map_err(Problem::Read)?;
        let size = file.metadata().map_err(Problem::Read)?.len();
        let mut archive = Self {
            path: path.to_owned(),
            files_index: None,
            limits,
            size,
        };
        let metadata = if name.strip_suffix(".conda").is_some() {
            let mut zip = Zip::open(file, &limits)?;
            archive.files_index = Some(component(&zip, "pkg-")?);
            check_format(&mut zip, &limits)?;
            let info = component(&zip, "info-")?;
            let tar = zstd_reader(Box::new(zip.read(info)?), limits, size)?;
            read_metadata(TarReader::new(tar, limits.entries), &limits)?
        } else if name.strip_suffix(".tar.bz2").is_some() {
            read_metadata(archive.files()?, &limits)?
        } else {
            return Err(Problem::Archive("a conda package ends in .conda or .tar.bz2").into());
        };
        Ok((archive, metadata))
    }

    /// The files, from the first; of a `.tar.bz2` with the metadata among them.
    pub(super) fn files(&self) -> Result<Files, Problem> {
        let mut file = File::open(&self.path).map_err(Problem::Read)?;
        let Some(index) = self.files_index else {
            let plain =
                bzip2::bufread::MultiBzDecoder::new(BufReader::with_capacity(64 << 10, file));
            let bounded = Bounded::new(plain, self.limits, self.size);
            return Ok(TarReader::new(Box::new(bounded), self.limits.entries));
        };
        let zip = Zip::open(file.try_clone().map_err(Problem::Read)?, &self.limits)?;
        let range = zip.stored_range(index);
        let Some(range) = range else {
            return Err(Problem::Archive(
                "the tar inside a .conda is compressed twice",
            ));
        };
        file.seek(SeekFrom::Start(range.start))
            .map_err(Problem::Read)?;
        let raw = file.take(range.end - range.start);
        let tar = zstd_reader(Box::new(raw), self.limits, self.size)?;
        Ok(TarReader::new(tar, self.limits.entries))
    }

    /// The archive's size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }
}

fn zstd_reader<'a>(
    raw: Box<dyn Read + Send + 'a>,
    limits: Limits,
    archive_bytes: u64,
) -> Result<Box<dyn Read + Send + 'a>, Problem> {
    let mut decoder = zstd::Decoder::new(raw).map_err(Problem::Read)?;
    decoder
        .window_log_max(ZSTD_WINDOW_LOG)
        .map_err(Problem::Read)?;
    Ok(Box::new(Bounded::new(decoder, limits, archive_bytes)))
}

/// The one entry `PREFIX*.tar.zst`.
fn component<R: Read + std::io::Seek>(zip: &Zip<R>, prefix: &str) -> Result<usize, Problem> {
    let mut found = zip.entries().iter().enumerate().filter(|(_, entry)| {
        entry.name.starts_with(prefix)
            && entry.name.ends_with(".tar.zst")
            && !entry.name.contains('/')
    });
    match (found.next(), found.next()) {
        (Some((index, _)), None) => Ok(index),
        _ => Err(Problem::Archive(
            "a .conda has exactly one info and one pkg tar",
        )),
    }
}

fn check_format<R: Read + std::io::Seek>(zip: &mut Zip<R>, limits: &Limits) -> Result<(), Problem> {
    #[derive(serde::Deserialize)]
    struct Format {
        conda_pkg_format_version: u64,
    }
    let index = zip
        .entries()
        .iter()
        .position(|entry| entry.name == "metadata.json");
    let index = index.ok_or(Problem::Archive("a .conda has a metadata.json"))?;
    let bytes = read_limited(
        &mut zip.read(index)?,
        "bytes of metadata",
        limits.metadata_bytes,
    )?;
    let format: Format = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::Metadata(format!("metadata.json: {error}")))?;
    if format.conda_pkg_format_version == 2 {
        Ok(())
    } else {
        Err(Problem::Archive("a .conda has format version 2"))
    }
}

fn read_metadata<R: Read>(mut tar: TarReader<R>, limits: &Limits) -> Result<Metadata, Found> {
    let mut metadata = Metadata::new();
    while let Some(entry) = tar.next_entry()? {
        if entry.kind == TarKind::Directory {
            continue;
        }
        let path = PrefixPath::from_archive(&entry.name)
            .map_err(|error| Problem::from(error).at(&entry.name))?;
        if !WANTED.contains(&path.as_str()) {
            continue;
        }
        if entry.kind != TarKind::File {
            return Err(Problem::Archive("a metadata file is no plain file").at(&entry.name));
        }
        let bytes = read_limited(&mut tar, "bytes of metadata", limits.metadata_bytes)?;
        if metadata.insert(path.as_str().to_owned(), bytes).is_some() {
            return Err(Problem::Duplicate.at(&entry.name));
        }
    }
    Ok(metadata)
}
