//! What was promised: an append-only record of every acceptance, and what it is held against.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use kiln_api::{BuildState, BuildStatus};
use serde_json::{Value, json};

/// Knows what kiln has said.
#[derive(Debug)]
pub(super) struct Oracle {
    file: fs_err::File,
    /// Accepted builds by their ids.
    pub(super) builds: BTreeMap<String, Accepted>,
    /// The images that answers named, by environment.
    images: BTreeMap<usize, BTreeSet<String>>,
    /// The spec hashes that answers named, by environment.
    hashes: BTreeMap<usize, BTreeSet<String>>,
    /// Answers that were neither 200 nor 202, by code and class.
    pub(super) refused: BTreeMap<String, usize>,
}

/// An accepted build.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) number: usize,
    /// As it was seen last.
    pub(super) last: BuildStatus,
    /// It was asked for again under another id after it had failed by a fault that was injected.
    pub(super) replaced: bool,
    /// It must fail.
    pub(super) fails: bool,
}

impl Accepted {
    pub(super) fn is_over(&self) -> bool {
        self.last.state.is_final()
    }
}

impl Oracle {
    /// Writes the record to a file, one JSON object a line.
    pub(super) fn new(path: &Path) -> Result<Self> {
        Ok(Self {
            file: fs_err::File::create(path)?,
            builds: BTreeMap::new(),
            images: BTreeMap::new(),
            hashes: BTreeMap::new(),
            refused: BTreeMap::new(),
        })
    }

    /// Writes down what happens to kiln.
    pub(super) fn note(&mut self, what: &str, more: &Value) -> Result<()> {
        let line = json!({ "what": what, "more": more });
        writeln!(self.file, "{line}")?;
        Ok(())
    }

    /// An environment was accepted; gives the build's id. The record is written when this returns.
    pub(super) fn accepted(&mut self, number: usize, status: &BuildStatus) -> Result<String> {
        let id = status.build_id.clone().unwrap_or_default();
        let more =
            json!({ "number": number, "id": id, "hash": status.spec_hash, "state": status.state });
        self.note("accepted", &more)?;
        self.builds.entry(id.clone()).or_insert_with(|| Accepted {
            number,
            last: status.clone(),
            replaced: false,
            fails: false,
        });
        self.seen(&id, status);
        Ok(id)
    }

    /// An answer about a build came.
    pub(super) fn seen(&mut self, id: &str, status: &BuildStatus) {
        let Some(build) = self.builds.get_mut(id) else {
            return;
        };
        build.last = status.clone();
        let number = build.number;
        let hashes = self.hashes.entry(number).or_default();
        hashes.insert(status.spec_hash.clone());
        if let Some(image) = &status.image {
            let images = self.images.entry(number).or_default();
            images.insert(image.clone());
        }
    }

    /// An answer that was no acceptance came.
    pub(super) fn refused(&mut self, code: u16, body: &Value) -> Result<()> {
        let class = body["error"]["class"].as_str().unwrap_or("?").to_owned();
        self.note("refused", &json!({ "code": code, "body": body }))?;
        *self.refused.entry(format!("{code} {class}")).or_default() += 1;
        Ok(())
    }

    /// Ids of builds that are not known to be over.
    pub(super) fn open(&self) -> Vec<String> {
        let open = self.builds.iter().filter(|(_, build)| !build.is_over());
        open.map(|(id, _)| id.clone()).collect()
    }

    /// How many builds are over.
    pub(super) fn over(&self) -> usize {
        self.builds.values().filter(|build| build.is_over()).count()
    }

    /// Builds that are READY as far as anybody was told.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&String, &Accepted)> {
        self.builds
            .iter()
            .filter(|(_, build)| build.last.state == BuildState::Ready)
    }

    /// Accepted builds that are not READY, nor failed by right.
    pub(super) fn lost(&self) -> Vec<String> {
        let lost = self.builds.iter().filter(|(_, build)| {
            let failed = build.last.state == BuildState::Failed;
            build.last.state != BuildState::Ready && !(failed && (build.replaced || build.fails))
        });
        lost.map(|(id, build)| {
            let failure = build.last.error.as_ref().map(|error| &error.message);
            format!(
                "{id}, environment {}: {:?} {failure:?}",
                build.number, build.last.state
            )
        })
        .collect()
    }

    /// Environments that answers gave several hashes or images.
    pub(super) fn ambiguous(&self) -> Vec<String> {
        let several = self.hashes.iter().chain(&self.images);
        several
            .filter(|(_, named)| named.len() > 1)
            .map(|(number, named)| format!("environment {number}: {named:?}"))
            .collect()
    }
}
