//! One wheel: what it is, where its files go, its RECORD.

use std::io::{Cursor, Read};
use std::path::Path;

use fs_err::File;
use serde::Serialize;

use super::entry_points::{EntryPoints, interpreter};
use super::metadata::{Headers, check_wheel};
use super::name::{WheelName, normalised, not_the_one, same_version};
use super::plan::{Planned, plan};
use super::record::{Demands, RecordRow};
use super::script::{rewritten, split_first_line};
use super::{record, tags};
use crate::entry::{CONSTANT_MTIME, Entry, Node, Origin, Sink};
use crate::error::{Found, LinkError, Problem};
use crate::hash::{Hashing, Verifying, drain, sha256};
use crate::limits::read_limited;
use crate::linked::Linked;
use crate::path::PrefixPath;
use crate::target::{PythonTarget, Target};
use crate::zip::Zip;

/// The wheel that is expected in an archive, as the lock names it.
#[derive(Debug, Clone, Serialize)]
pub struct WheelRequest {
    /// The PEP 503 name.
    pub name: String,
    /// The PEP 440 version.
    pub version: String,
    /// The wheel's file name.
    pub file_name: String,
    /// Whether the definition itself asks for it: a REQUESTED file is written.
    pub requested: bool,
}

/// A wheel whose structure and metadata are checked, ready to be linked.
pub struct WheelPackage {
    request: WheelRequest,
    target: Target,
    python: PythonTarget,
    zip: Zip<File>,
    /// The `NAME-VERSION.dist-info` directory's name.
    info: String,
    demands: Demands,
    /// What is installed from the archive, in the archive's order.
    plan: Vec<Planned>,
    scripts: Vec<(PrefixPath, String)>,
}

impl WheelPackage {
    /// Reads a wheel's structure and metadata and checks that it is the one asked for.
    pub fn open(archive: &Path, request: WheelRequest, target: &Target) -> Result<Self, LinkError> {
        let name = request.file_name.clone();
        Self::open_unnamed(archive, request, target).map_err(|found| found.of(&name))
    }

    fn open_unnamed(path: &Path, request: WheelRequest, target: &Target) -> Result<Self, Found> {
        let python = target.python.clone().ok_or_else(|| {
            Problem::Unfit("it is a wheel and the environment has no python".to_owned())
        })?;
        let name = WheelName::parse(&request.file_name)?;
        name.check(&request.name, &request.version)?;
        tags::check(&name, &python)?;
        let file = File::open(path).map_err(Problem::Read)?;
        let mut zip = Zip::open(file, &target.limits)?;
        let info = info_directory(&zip, &request)?;
        let mut metadata = |file: &str| read_metadata(&mut zip, &format!("{info}/{file}"), target);
        let need = |file: &str, bytes: Option<Vec<u8>>| {
            bytes.ok_or_else(|| Problem::Missing.at(format!("{info}/{file}")))
        };
        let at = |file: &str| {
            let name = format!("{info}/{file}");
            move |problem: Problem| problem.at(name)
        };
        check_wheel(&need("WHEEL", metadata("WHEEL")?)?).map_err(at("WHEEL"))?;
        let headers = Headers::parse(&need("METADATA", metadata("METADATA")?)?);
        check_identity(&headers, &request).map_err(at("METADATA"))?;
        let demands =
            Demands::parse(&need("RECORD", metadata("RECORD")?)?).map_err(at("RECORD"))?;
        let points = match metadata("entry_points.txt")? {
            Some(bytes) => EntryPoints::parse(&bytes).map_err(at("entry_points.txt"))?,
            None => EntryPoints::default(),
        };
        let scripts = points
            .scripts(&target.prefix, &python)
            .map_err(at("entry_points.txt"))?;
        let plan = plan(&zip, &info, &request, &python, &points)?;
        let package = Self {
            request,
            target: target.clone(),
            python,
            zip,
            info,
            demands,
            plan,
            scripts,
        };
        package.refuse_duplicates()?;
        Ok(package)
    }

    /// Every file the wheel will have, with its origin, known without reading them.
    pub fn paths(&self) -> impl Iterator<Item = (PrefixPath, Origin)> {
        let shipped = self
            .plan
            .iter()
            .map(|planned| (planned.path.clone(), Origin::Shipped));
        let scripts = self
            .scripts
            .iter()
            .map(|(path, _)| (path.clone(), Origin::EntryPoint));
        let own = self
            .own_files()
            .into_iter()
            .map(|(path, _)| (path, Origin::Record));
        let record = (self.info_path("RECORD"), Origin::Record);
        shipped.chain(scripts).chain(own).chain([record])
    }

    fn refuse_duplicates(&self) -> Result<(), Found> {
        let mut seen = std::collections::HashSet::new();
        for (path, _) in self.paths() {
            if !seen.insert(path.clone()) {
                return Err(Problem::Duplicate.at(path.as_str()));
            }
        }
        Ok(())
    }

    fn info_path(&self, file: &str) -> PrefixPath {
        let below = format!("{}/{file}", self.info);
        self.python
            .site_packages
            .join(&below)
            .expect("the directory's name was checked")
    }

    /// The files that an installer writes beside RECORD, with their texts.
    fn own_files(&self) -> Vec<(PrefixPath, &'static str)> {
        let mut files = vec![(self.info_path("INSTALLER"), "kiln\n")];
        if self.request.requested {
            files.push((self.info_path("REQUESTED"), ""));
        }
        files
    }

    /// Writes the wheel into a sink.
    pub fn link(&mut self, sink: &mut dyn Sink) -> Result<Linked, LinkError> {
        let name = self.request.file_name.clone();
        self.link_unnamed(sink).map_err(|found| found.of(&name))
    }

    fn link_unnamed(&mut self, sink: &mut dyn Sink) -> Result<Linked, Found> {
        let mut linked = Linked::default();
        let mut rows = Vec::new();
        for planned in std::mem::take(&mut self.plan) {
            let name = self.zip.entries()[planned.index].name.clone();
            let size = self
                .shipped(&planned, sink, &mut rows)
                .map_err(|problem| problem.at(name))?;
            linked.add(size, &self.target.limits)?;
        }
        let scripts = std::mem::take(&mut self.scripts);
        let scripts = scripts
            .iter()
            .map(|(path, text)| (path, text.as_str(), 0o755, Origin::EntryPoint));
        let own = self.own_files();
        let own = own
            .iter()
            .map(|(path, text)| (path, *text, 0o644, Origin::Record));
        for (path, text, mode, origin) in scripts.chain(own) {
            put_text(sink, path, text, mode, origin)?;
            rows.push(self.row(path, &sha256(text.as_bytes()), text.len() as u64));
            linked.add(text.len() as u64, &self.target.limits)?;
        }
        if self.target.bytecode {
            let compiled = rows
                .iter()
                .filter_map(|row| self.python.bytecode_path(&row.path));
            let compiled: Vec<RecordRow> = compiled.map(RecordRow::bare).collect();
            let have: std::collections::HashSet<String> =
                rows.iter().map(|row| row.path.clone()).collect();
            rows.extend(compiled.into_iter().filter(|row| !have.contains(&row.path)));
        }
        let path = self.info_path("RECORD");
        rows.push(RecordRow::bare(
            path.relative_to(&self.python.site_packages),
        ));
        let text = record::write(rows);
        put_text(sink, &path, &text, 0o644, Origin::Record)?;
        linked.add(text.len() as u64, &self.target.limits)?;
        Ok(linked)
    }

    fn row(&self, path: &PrefixPath, hash: &[u8; 32], size: u64) -> RecordRow {
        RecordRow::hashed(path.relative_to(&self.python.site_packages), hash, size)
    }

    /// Writes one file of the archive; gives its size.
    fn shipped(
        &mut self,
        planned: &Planned,
        sink: &mut dyn Sink,
        rows: &mut Vec<RecordRow>,
    ) -> Result<u64, Problem> {
        let entry = self.zip.entries()[planned.index].clone();
        let demand = match self.demands.of(&entry.name) {
            Some((expected, size)) => (Some(expected), size),
            None if is_signature(&entry.name, &self.info) => (None, None),
            None => return Err(Problem::Unrecorded),
        };
        let content = Verifying::new(self.zip.read(planned.index)?, demand.0, demand.1);
        let mode = if planned.executable { 0o755 } else { 0o644 };
        let (hash, size) = if planned.script {
            let (first_line, rest) = split_first_line(content)?;
            let line = rewritten(first_line, &interpreter(&self.target.prefix));
            let size = entry.size - line.was + line.bytes.len() as u64;
            put_content(
                sink,
                &planned.path,
                mode,
                size,
                Cursor::new(line.bytes).chain(rest),
            )?
        } else {
            put_content(sink, &planned.path, mode, entry.size, content)?
        };
        rows.push(self.row(&planned.path, &hash, size));
        Ok(size)
    }
}

fn put_content(
    sink: &mut dyn Sink,
    path: &PrefixPath,
    mode: u32,
    size: u64,
    content: impl Read,
) -> Result<([u8; 32], u64), Problem> {
    let mut content = Hashing::new(content);
    let node = Node::File {
        mode,
        mtime: CONSTANT_MTIME,
        size,
        content: &mut content,
    };
    sink.put(Entry {
        path,
        origin: Origin::Shipped,
        node,
    })
    .map_err(Problem::from_write)?;
    drain(&mut content)?;
    Ok(content.finish())
}

fn put_text(
    sink: &mut dyn Sink,
    path: &PrefixPath,
    text: &str,
    mode: u32,
    origin: Origin,
) -> Result<(), Found> {
    let size = text.len() as u64;
    let node = Node::File {
        mode,
        mtime: CONSTANT_MTIME,
        size,
        content: &mut text.as_bytes(),
    };
    sink.put(Entry { path, origin, node })
        .map_err(|error| Problem::from_write(error).at(path.as_str()))
}

/// Signatures of RECORD are the only files that RECORD need not name.
fn is_signature(name: &str, info: &str) -> bool {
    name.strip_prefix(info)
        .is_some_and(|rest| matches!(rest, "/RECORD.jws" | "/RECORD.p7s"))
}

fn read_metadata(
    zip: &mut Zip<File>,
    name: &str,
    target: &Target,
) -> Result<Option<Vec<u8>>, Found> {
    let Some(index) = zip.entries().iter().position(|entry| entry.name == name) else {
        return Ok(None);
    };
    let mut content = zip.read(index).map_err(|problem| problem.at(name))?;
    read_limited(
        &mut content,
        "bytes of metadata",
        target.limits.metadata_bytes,
    )
    .map(Some)
    .map_err(|problem| problem.at(name))
}

/// The one top directory `NAME-VERSION.dist-info`, of this name and version.
fn info_directory(zip: &Zip<File>, request: &WheelRequest) -> Result<String, Found> {
    let mut found: Option<&str> = None;
    for entry in zip.entries() {
        let Some((top, _)) = entry.name.split_once('/') else {
            continue;
        };
        if top.ends_with(".dist-info") && found != Some(top) {
            if found.is_some() {
                return Err(Problem::Archive("it has two .dist-info directories").at(top));
            }
            found = Some(top);
        }
    }
    let top = found.ok_or(Problem::Archive("it has no .dist-info directory"))?;
    let stem = top.strip_suffix(".dist-info").unwrap_or_default();
    let (name, version) = stem.split_once('-').unwrap_or((stem, ""));
    not_the_one(
        "name",
        &normalised(&request.name),
        &normalised(name),
        |a, b| a == b,
    )
    .and_then(|()| not_the_one("version", &request.version, version, same_version))
    .and_then(|()| Ok(PrefixPath::new(top).map(drop)?))
    .map_err(|problem| problem.at(top))?;
    Ok(top.to_owned())
}

fn check_identity(headers: &Headers, request: &WheelRequest) -> Result<(), Problem> {
    let name = normalised(headers.need("name")?);
    not_the_one("name", &normalised(&request.name), &name, |a, b| a == b)?;
    not_the_one(
        "version",
        &request.version,
        headers.need("version")?,
        same_version,
    )
}
