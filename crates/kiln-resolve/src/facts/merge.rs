//! Lays findings of layers over each other, as a container's root would be.

use std::collections::BTreeMap;

use super::layer::{Found, LayerFindings};

/// The interesting files of an image's root.
#[derive(Debug, Default)]
pub(crate) struct RootFiles {
    files: BTreeMap<String, Found>,
}

impl RootFiles {
    /// Puts a layer on top of what is there.
    pub(crate) fn push(&mut self, layer: LayerFindings) {
        for folder in &layer.opaque {
            self.remove_below(folder);
        }
        for path in layer.hidden.iter().chain(&layer.links) {
            self.files.remove(path);
            self.remove_below(path);
        }
        self.files.extend(layer.found);
    }

    fn remove_below(&mut self, folder: &str) {
        if folder.is_empty() {
            self.files.clear();
            return;
        }
        let prefix = format!("{folder}/");
        let below: Vec<String> = self
            .files
            .range(prefix.clone()..)
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(&prefix))
            .cloned()
            .collect();
        for path in below {
            self.files.remove(&path);
        }
    }

    /// Whether a path leads to a file; a merged `/usr` and links are followed.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.look_up(path, 8).is_some()
    }

    /// The content of a file.
    pub(crate) fn content(&self, path: &str) -> Option<&[u8]> {
        match self.look_up(path, 8)? {
            Found::Content(content) => Some(content),
            _ => None,
        }
    }

    fn look_up(&self, path: &str, depth: u8) -> Option<&Found> {
        let depth = depth.checked_sub(1)?;
        match self.files.get(path) {
            Some(Found::Link(target)) => {
                let target = joined(path, target);
                // A link out of the interesting paths, such as `sh -> dash`, still leads somewhere.
                self.look_up(&target, depth)
                    .or_else(|| self.files.get(path))
            }
            Some(found) => Some(found),
            None => {
                let (first, rest) = path.split_once('/')?;
                match self.files.get(first) {
                    Some(Found::Link(target)) => {
                        self.look_up(&format!("{}/{rest}", joined(first, target)), depth)
                    }
                    _ => None,
                }
            }
        }
    }

    /// All paths, sorted.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The contents of files below a folder, written with a `/` at its end.
    pub(crate) fn contents_below<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.files
            .iter()
            .filter(move |(path, _)| path.starts_with(folder))
            .filter_map(|(_, found)| match found {
                Found::Content(content) => Some(content.as_slice()),
                _ => None,
            })
    }

    /// The contents of files of a name, in any folder.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.files
            .iter()
            .filter(move |(path, _)| path.rsplit('/').next() == Some(name))
            .filter_map(|(_, found)| match found {
                Found::Content(content) => Some(content.as_slice()),
                _ => None,
            })
    }
}

/// A link's target from the root, without leading `/`.
fn joined(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = if target.starts_with('/') {
        Vec::new()
    } else {
        link.split('/').collect()
    };
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}
