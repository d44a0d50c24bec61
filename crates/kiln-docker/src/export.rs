//! An image out of the engine: the stream of `docker save`, of which only new layers are kept.
//!
//! Docker 20.10 writes `ID/layer.tar`, `CONFIG.json` and `manifest.json` in no useful order; newer engines write
//! an OCI layout with the same `manifest.json`. A layer's place in the image is known at the end, its
//! digest when it was read: what the base has already is dropped at once.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bollard::Docker;
use fs_err as fs;
use futures::TryStreamExt as _;
use kiln_api::{Failure, FailureClass};
use kiln_oci::{Digest, ImageConfig};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio_util::io::{StreamReader, SyncIoBridge};

/// Manifests and configurations are smaller.
const JSON_LIMIT_BYTES: u64 = 4 << 20;
/// The first bytes of gzip (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An image that was read.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) config: ImageConfig,
    /// From the base up, as the configuration lists them.
    pub(crate) layers: Vec<Layer>,
}

/// A layer of the image.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) diff_id: Digest,
    /// Its tar; none where the base has it.
    pub(crate) tar: Option<PathBuf>,
}

#[derive(Deserialize)]
struct SavedImage {
    #[serde(rename = "Config")]
    config: String,
    #[serde(rename = "Layers")]
    layers: Vec<String>,
}

/// A file of the stream.
enum Saved {
    Json(Vec<u8>),
    Tar {
        diff_id: Digest,
        path: Option<PathBuf>,
    },
    Link(String),
}

/// Reads an image of the engine; new layers land in `folder`.
pub(crate) async fn image(
    client: &Docker,
    name: &str,
    base: HashSet<Digest>,
    folder: PathBuf,
) -> Result<Exported, Failure> {
    let stream = client.export_image(name).map_err(io::Error::other);
    let reader = SyncIoBridge::new(StreamReader::new(Box::pin(stream)));
    let read = tokio::task::spawn_blocking(move || read(reader, &base, &folder)).await;
    match read {
        Ok(Ok(exported)) => Ok(exported),
        Ok(Err(error)) => Err(failure(&error)),
        Err(error) => Err(failure(&io::Error::other(error))),
    }
}

fn failure(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::InvalidData {
        return Failure::new(
            FailureClass::Integrity,
            format!("the image that the Docker Engine gave is not whole: {error}"),
            "ask again; if it stays so, see the Docker Engine's log",
        );
    }
    kiln_engine::failure::of_io("the image that the Docker Engine gives", error)
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

fn read(reader: impl Read, base: &HashSet<Digest>, folder: &Path) -> io::Result<Exported> {
    let mut archive = tar::Archive::new(reader);
    let mut saved: HashMap<String, Saved> = HashMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes())
            .trim_start_matches("./")
            .to_owned();
        let kind = entry.header().entry_type();
        if kind.is_symlink() || kind.is_hard_link() {
            let target = entry
                .link_name_bytes()
                .map(|t| String::from_utf8_lossy(&t).into_owned());
            let target = target.unwrap_or_default();
            let target = if kind.is_symlink() {
                beside(&name, &target)
            } else {
                target
            };
            saved.insert(name, Saved::Link(target));
        } else if kind.is_file() {
            let part = part(&mut entry, &name, base, folder, saved.len())?;
            saved.insert(name, part);
        }
    }
    assemble(&saved)
}

/// A small JSON file stays in memory; all else is a layer, and is hashed on its way to the disk.
fn part(
    entry: &mut tar::Entry<'_, impl Read>,
    name: &str,
    base: &HashSet<Digest>,
    folder: &Path,
    number: usize,
) -> io::Result<Saved> {
    let size = entry.header().size()?;
    let mut start = [0; 2];
    let started = fill(entry, &mut start)?;
    let start = &start[..started];
    if size <= JSON_LIMIT_BYTES && start.first().is_some_and(|b| *b == b'{' || *b == b'[') {
        let mut bytes = start.to_vec();
        entry.take(JSON_LIMIT_BYTES).read_to_end(&mut bytes)?;
        return Ok(Saved::Json(bytes));
    }
    if !name.ends_with("layer.tar") && !name.starts_with("blobs/") {
        // `VERSION`, `repositories`, `oci-layout`.
        return Ok(Saved::Json(Vec::new()));
    }
    let path = folder.join(format!("layer-{number}.tar"));
    let whole = start.chain(entry);
    let diff_id = if start == GZIP {
        spool(flate2::read::MultiGzDecoder::new(whole), &path)?
    } else {
        spool(whole, &path)?
    };
    if base.contains(&diff_id) {
        fs::remove_file(&path)?;
        return Ok(Saved::Tar {
            diff_id,
            path: None,
        });
    }
    Ok(Saved::Tar {
        diff_id,
        path: Some(path),
    })
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

fn spool(mut reader: impl Read, path: &Path) -> io::Result<Digest> {
    let mut file = fs::File::create(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(Digest::from_bytes(hasher.finalize().into()));
        }
        hasher.update(&buffer[..read]);
        file.write_all(&buffer[..read])?;
    }
}

/// The target of a link `../OTHER/layer.tar` that stands at `ID/layer.tar`.
fn beside(name: &str, target: &str) -> String {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => {
                parts.pop();
            }
            "." | "" => {}
            other => parts.push(other),
        }
    }
    parts.join("/")
}

fn assemble(saved: &HashMap<String, Saved>) -> io::Result<Exported> {
    let json = |name: &str| match saved.get(name) {
        Some(Saved::Json(bytes)) => Ok(bytes),
        _ => Err(invalid(format!("`{name}` is missing"))),
    };
    let mut images: Vec<SavedImage> = serde_json::from_slice(json("manifest.json")?)
        .map_err(|error| invalid(format!("`manifest.json`: {error}")))?;
    let (Some(image), true) = (images.pop(), images.is_empty()) else {
        return Err(invalid("there is not exactly one image"));
    };
    let config = ImageConfig::parse(json(&image.config)?)
        .map_err(|error| invalid(format!("the configuration: {error}")))?;
    let mut layers = Vec::with_capacity(image.layers.len());
    for name in &image.layers {
        let mut found = saved.get(name);
        if let Some(Saved::Link(target)) = found {
            found = saved.get(target);
        }
        let Some(Saved::Tar { diff_id, path }) = found else {
            return Err(invalid(format!("the layer `{name}` is missing")));
        };
        layers.push(Layer {
            diff_id: *diff_id,
            tar: path.clone(),
        });
    }
    let listed = &config.rootfs.diff_ids;
    if !layers
        .iter()
        .map(|layer| layer.diff_id)
        .eq(listed.iter().copied())
    {
        return Err(invalid(
            "the layers are not those that the configuration lists",
        ));
    }
    Ok(Exported { config, layers })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved_image(layers: &[&[u8]]) -> Vec<u8> {
        let diff_ids: Vec<String> = layers.iter().map(|l| Digest::of(l).to_string()).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let names: Vec<String> = (0..layers.len())
            .map(|n| format!("{n}/layer.tar"))
            .collect();
        let manifest = serde_json::json!([{"Config": "c.json", "RepoTags": null, "Layers": names}]);
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        add("manifest.json", manifest.to_string().as_bytes());
        for (name, bytes) in names.iter().zip(layers).rev() {
            add(name, bytes);
        }
        add("0/VERSION", b"1.0");
        add("c.json", config.to_string().as_bytes());
        tar.into_inner().unwrap()
    }

    #[test]
    fn layers_come_in_their_order_and_those_of_the_base_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let base = HashSet::from([Digest::of(b"base layer")]);
        let bytes = saved_image(&[b"base layer", b"new layer"]);
        let exported = read(bytes.as_slice(), &base, folder.path()).unwrap();
        assert_eq!(exported.layers.len(), 2);
        assert!(exported.layers[0].tar.is_none());
        let new = exported.layers[1].tar.as_ref().unwrap();
        assert_eq!(std::fs::read(new).unwrap(), b"new layer");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_layer_that_is_not_what_the_configuration_lists_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = saved_image(&[b"a layer of bytes"]);
        let at = bytes
            .windows(16)
            .position(|w| w == b"a layer of bytes")
            .unwrap();
        bytes[at] ^= 1;
        let error = read(bytes.as_slice(), &HashSet::new(), folder.path()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn links_between_layers_are_followed() {
        assert_eq!(beside("a/layer.tar", "../b/layer.tar"), "b/layer.tar");
    }
}
