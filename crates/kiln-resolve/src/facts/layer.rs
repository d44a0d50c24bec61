//! Reads one layer: which of the few files that matter it adds, changes or hides.

use std::io::{self, BufRead, BufReader, Read};

/// The most bytes a layer may unpack to; the largest CUDA images stay far below it.
const MOST_BYTES: u64 = 96 << 30;
/// The most entries a layer may have.
const MOST_ENTRIES: u64 = 4_000_000;
/// The most bytes that are kept of one file.
const MOST_KEPT: u64 = 48 << 20;
/// The most hidden or replaced paths that are remembered of one layer.
const MOST_HIDDEN: usize = 500_000;

/// What an interesting path is in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// A file whose content matters.
    Content(Vec<u8>),
    /// A file whose being there matters.
    File,
    /// A link, to a path as it is written.
    Link(String),
}

/// What one layer says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerFindings {
    /// Interesting paths, without leading `/`.
    pub(crate) found: Vec<(String, Found)>,
    /// Paths that whiteouts hide in the layers below (OCI image specification, "Whiteouts").
    pub(crate) hidden: Vec<String>,
    /// Folders whose content in the layers below is hidden (opaque whiteouts).
    pub(crate) opaque: Vec<String>,
    /// Links: what lies below them in lower layers is not reached any more.
    pub(crate) links: Vec<String>,
}

/// Reads a layer's archive: plain tar, gzip or zstd, told by its first bytes.
///
/// The reader is read to its end, beyond the archive's: only there its digest is known to be right.
pub(crate) fn read(layer: impl Read) -> io::Result<LayerFindings> {
    let mut layer = BufReader::with_capacity(256 * 1024, layer);
    let magic = layer.fill_buf()?;
    let findings = if magic.starts_with(&[0x1f, 0x8b]) {
        read_tar(flate2::bufread::MultiGzDecoder::new(&mut layer))?
    } else if magic.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut layer)?;
        // The largest window that OCI runtimes take, 128 MiB.
        decoder.window_log_max(27)?;
        read_tar(decoder)?
    } else {
        read_tar(&mut layer)?
    };
    io::copy(&mut layer, &mut io::sink())?;
    Ok(findings)
}

fn read_tar(reader: impl Read) -> io::Result<LayerFindings> {
    let mut archive = tar::Archive::new(Bounded {
        inner: reader,
        left: MOST_BYTES,
    });
    let mut findings = LayerFindings::default();
    let mut entries = 0_u64;
    for entry in archive.entries()? {
        let mut entry = entry?;
        entries += 1;
        if entries > MOST_ENTRIES {
            return Err(io::Error::other("the layer has too many entries"));
        }
        let Some(path) = clean(&entry.path_bytes()) else {
            continue;
        };
        if note_whiteout(&path, &mut findings)? {
            continue;
        }
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry
                .link_name_bytes()
                .map(|target| String::from_utf8_lossy(&target).into_owned())
                .unwrap_or_default();
            if kind.is_symlink() {
                remember(&mut findings.links, path.clone())?;
            }
            if is_interesting(&path) || is_top_level_link(&path) {
                findings.found.push((path, Found::Link(target)));
            }
        } else if kind.is_file() && is_interesting(&path) {
            let found = if has_content(&path) {
                let mut content = Vec::new();
                entry.by_ref().take(MOST_KEPT).read_to_end(&mut content)?;
                Found::Content(content)
            } else {
                Found::File
            };
            findings.found.push((path, found));
        }
    }
    Ok(findings)
}

/// A path in normal form; `None` for the root and for paths that climb.
fn clean(path: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(path).ok()?;
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

/// Notes a whiteout; tells whether the entry was one.
fn note_whiteout(path: &str, findings: &mut LayerFindings) -> io::Result<bool> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(hidden) = name.strip_prefix(".wh.") else {
        return Ok(false);
    };
    if hidden == ".wh..opq" {
        remember(&mut findings.opaque, folder.to_owned())?;
    } else if !hidden.is_empty() {
        let path = if folder.is_empty() {
            hidden.to_owned()
        } else {
            format!("{folder}/{hidden}")
        };
        remember(&mut findings.hidden, path)?;
    }
    Ok(true)
}

fn remember(paths: &mut Vec<String>, path: String) -> io::Result<()> {
    if paths.len() >= MOST_HIDDEN {
        return Err(io::Error::other("the layer hides or links too many paths"));
    }
    paths.push(path);
    Ok(())
}

/// `bin -> usr/bin` and the like: the folders of a merged `/usr`.
fn is_top_level_link(path: &str) -> bool {
    matches!(path, "bin" | "lib" | "lib64" | "sbin")
}

/// Whether the facts need to know of a path.
fn is_interesting(path: &str) -> bool {
    has_content(path) || {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        match name {
            "sh" | "bash" => matches!(folder, "bin" | "usr/bin"),
            "conda" => folder.ends_with("/bin") || folder.ends_with("/condabin"),
            "__init__.py" => is_venv_module(folder),
            _ if name.starts_with("python3") => {
                matches!(folder, "usr/bin" | "usr/local/bin" | "bin")
                    && python_minor(name).is_some()
                    || (folder == "usr/bin" || folder == "usr/local/bin") && name == "python3"
            }
            _ if name.starts_with("conda-") => folder.ends_with("conda-meta") && is_json(name),
            _ => name.starts_with("libc-2.") && is_library_folder(folder),
        }
    }
}

fn is_json(name: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, extension)| extension == "json")
}

fn has_content(path: &str) -> bool {
    matches!(
        path,
        "etc/os-release" | "usr/lib/os-release" | "var/lib/dpkg/status"
    ) || path.starts_with("var/lib/dpkg/status.d/")
        || path
            .strip_suffix("/libc.so.6")
            .is_some_and(is_library_folder)
}

/// `lib`, `lib64`, `lib/x86_64-linux-gnu`, and the same below `usr`.
fn is_library_folder(folder: &str) -> bool {
    let folder = folder.strip_prefix("usr/").unwrap_or(folder);
    let (first, rest) = folder.split_once('/').unwrap_or((folder, ""));
    matches!(first, "lib" | "lib64") && !rest.contains('/')
}

/// `usr/lib/python3.11/venv` and `usr/local/lib/python3.11/venv`.
fn is_venv_module(folder: &str) -> bool {
    folder
        .strip_suffix("/venv")
        .and_then(|folder| folder.rsplit_once('/'))
        .is_some_and(|(lib, name)| {
            matches!(lib, "usr/lib" | "usr/local/lib" | "lib") && python_minor(name).is_some()
        })
}

/// `3.11` of `python3.11`.
pub(crate) fn python_minor(name: &str) -> Option<&str> {
    let version = name.strip_prefix("python")?;
    let minor = version.strip_prefix("3.")?;
    (!minor.is_empty() && minor.len() <= 2 && minor.bytes().all(|b| b.is_ascii_digit()))
        .then_some(version)
}

/// Fails instead of reading on: a small layer can unpack to any size.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(count as u64)
            .ok_or_else(|| io::Error::other("the layer unpacks to too many bytes"))?;
        Ok(count)
    }
}
