//! pip requirements files, and the pip lists of conda environments.

mod lines;
mod options;

use std::collections::{BTreeMap, BTreeSet};

use crate::address;
use crate::definition::{Pip, PipRequirement};
use crate::error::{Findings, Place, quoted};
use crate::input::DOCUMENT_LIMIT_BYTES;
use crate::requirement;
use crate::secret::{CredentialTarget, InlineCredential};

pub(crate) use lines::logical;
use options::Use;
pub use options::option_table;

/// Files nest no deeper than this.
const INCLUDE_DEPTH_LIMIT: usize = 16;
/// Requirements of all files together.
const REQUIREMENT_LIMIT: usize = 20_000;

/// Indexes and pages of links of all files together.
const INDEX_LIMIT: usize = 100;

/// Reads requirements into a pip section.
pub(crate) struct Reader<'a> {
    files: &'a BTreeMap<String, String>,
    findings: &'a mut Findings,
    credentials: &'a mut Vec<InlineCredential>,
    pip: Pip,
    include_stack: Vec<String>,
    /// Files that were read: reading one again adds nothing.
    included: BTreeSet<(String, Role)>,
    no_binary: BTreeSet<String>,
    only_binary: BTreeSet<String>,
    unpinned: usize,
}

/// Whether a file's requirements are asked for or only constrain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Requirements,
    Constraints,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        files: &'a BTreeMap<String, String>,
        findings: &'a mut Findings,
        credentials: &'a mut Vec<InlineCredential>,
    ) -> Self {
        Self {
            files,
            findings,
            credentials,
            pip: Pip::default(),
            include_stack: Vec::new(),
            included: BTreeSet::new(),
            no_binary: BTreeSet::new(),
            only_binary: BTreeSet::new(),
            unpinned: 0,
        }
    }

    /// Reads a whole file.
    pub(crate) fn text(&mut self, file: &str, text: &str) {
        self.file(file, text, "", Role::Requirements);
    }

    /// Reads one item of a pip list, which is a line of a requirements file.
    pub(crate) fn item(&mut self, place: Place<'_>, text: &str) {
        if !text.contains(['\n', '\r', '\\', '#']) {
            let text = text.trim();
            if !text.is_empty() {
                self.line(place, text, "", Role::Requirements);
            }
            return;
        }
        for line in logical(text) {
            self.line(place, &line.text, "", Role::Requirements);
        }
    }

    /// The canonical section; `None` when nothing was asked for.
    pub(crate) fn finish(mut self, place: Place<'_>) -> Option<Pip> {
        if self.unpinned > 0 {
            self.findings.warn(
                place,
                format!("{} pip requirements name no exact version", self.unpinned),
                "the image keeps the versions of its first build; pin them to choose others",
            );
        }
        self.pip.requirements.sort();
        self.pip.requirements.dedup();
        self.pip.constraints.sort();
        self.pip.constraints.dedup();
        self.pip.no_binary = named(self.no_binary);
        self.pip.only_binary = named(self.only_binary);
        if self.pip.no_index {
            self.pip.index_url = None;
            self.pip.extra_index_urls.clear();
        }
        (!self.pip.requirements.is_empty()).then_some(self.pip)
    }

    fn file(&mut self, file: &str, text: &str, folder: &str, role: Role) {
        for line in logical(text) {
            let place = Place {
                file,
                line: line.number,
                field: "",
            };
            self.line(place, &line.text, folder, role);
        }
    }

    fn line(&mut self, place: Place<'_>, text: &str, folder: &str, role: Role) {
        if text.starts_with('-') {
            let mut rest = text;
            while !rest.is_empty() {
                match options::next(rest) {
                    Ok((option, after)) => {
                        self.option(place, &option, folder, role);
                        rest = after;
                        if !rest.is_empty() && !rest.starts_with('-') {
                            self.findings.error(
                                place,
                                format!("{} stands behind an option", quoted(rest)),
                                "put it on a line of its own",
                            );
                            return;
                        }
                    }
                    Err(reason) => {
                        self.findings.error(
                            place,
                            reason,
                            "leave it out, or use one of docs/spec-format.md",
                        );
                        return;
                    }
                }
            }
            return;
        }
        self.requirement(place, text, role);
    }

    fn requirement(&mut self, place: Place<'_>, text: &str, role: Role) {
        if self.pip.requirements.len() + self.pip.constraints.len() >= REQUIREMENT_LIMIT {
            self.findings.error(
                place,
                "there are too many requirements",
                "split the environment",
            );
            return;
        }
        let (text, options) = cut_options(text);
        let Some(hashes) = self.hashes(place, options) else {
            return;
        };
        match requirement::canonical(text) {
            Ok(canonical) => {
                self.unpinned += usize::from(
                    !canonical.pinned && hashes.is_empty() && role == Role::Requirements,
                );
                self.credentials.extend(canonical.credentials);
                match role {
                    Role::Requirements => self.pip.requirements.push(PipRequirement {
                        requirement: canonical.text,
                        hashes,
                    }),
                    Role::Constraints => {
                        let mut text = canonical.text;
                        for hash in hashes {
                            text.push_str(" --hash=");
                            text.push_str(&hash);
                        }
                        self.pip.constraints.push(text);
                    }
                }
            }
            Err((reason, remedy)) => self.findings.error(place, reason, remedy),
        }
    }

    /// The options behind a requirement: hashes; what builds is refused.
    fn hashes(&mut self, place: Place<'_>, options: &str) -> Option<Vec<String>> {
        let mut hashes = Vec::new();
        for word in options.split_whitespace() {
            let Some(hash) = word.strip_prefix("--hash=") else {
                if word == "--hash" {
                    continue;
                }
                if let Some(hash) = checked_hash(word) {
                    hashes.push(hash);
                    continue;
                }
                self.findings.error(
                    place,
                    format!(
                        "{} behind a requirement changes how it is built",
                        quoted(word)
                    ),
                    "kiln installs wheels: leave it out, or build the wheel yourself and upload it",
                );
                return None;
            };
            let Some(hash) = checked_hash(hash) else {
                self.findings.error(
                    place,
                    format!("{} is no hash", quoted(hash)),
                    "write it as sha256:<64 hex digits>",
                );
                return None;
            };
            hashes.push(hash);
        }
        hashes.sort();
        hashes.dedup();
        Some(hashes)
    }

    fn option(
        &mut self,
        place: Place<'_>,
        option: &options::OptionLine<'_>,
        folder: &str,
        role: Role,
    ) {
        match option.action {
            Use::Pre => self.pip.pre = true,
            Use::NoIndex => self.pip.no_index = true,
            Use::RequireHashes => self.pip.require_hashes = true,
            Use::IndexUrl | Use::ExtraIndexUrl | Use::FindLinks => self.index(place, option),
            Use::NoBinary | Use::OnlyBinary => self.binary(place, option),
            // As in pip: `-r` inside a constraints file asks for what it names.
            Use::Include => self.include(place, option.value, folder, Role::Requirements),
            Use::Constrain => self.include(place, option.value, folder, Role::Constraints),
            Use::Editable => self.editable(place, option.value, role),
            Use::Ignored(why) => self.findings.warn(
                place,
                format!("the option `{}` is ignored: {why}", option.name),
                "leave it out",
            ),
            Use::Refused(why, remedy) => self.findings.error(
                place,
                format!("the option `{}` is not taken: {why}", option.name),
                remedy,
            ),
        }
    }

    fn index(&mut self, place: Place<'_>, option: &options::OptionLine<'_>) {
        if self.pip.extra_index_urls.len() + self.pip.find_links.len() >= INDEX_LIMIT {
            self.findings.error(
                place,
                format!("there are more than {INDEX_LIMIT} indexes"),
                "keep those that are needed",
            );
            return;
        }
        match address::web(option.value) {
            Ok(address) => {
                let (url, credentials) = address.into_parts(CredentialTarget::Index);
                // A page of links may be a folder, whose `/` counts.
                let url = match option.action {
                    Use::FindLinks => url,
                    _ => url.trim_end_matches('/').to_owned(),
                };
                self.credentials
                    .extend(credentials.into_iter().map(|credential| InlineCredential {
                        target: CredentialTarget::Index(url.clone()),
                        ..credential
                    }));
                match option.action {
                    Use::IndexUrl => {
                        let other = self.pip.index_url.replace(url.clone());
                        if other.is_some_and(|other| other != url) {
                            self.findings.warn(
                                place,
                                "a second `--index-url` replaces the first",
                                "use `--extra-index-url` for further indexes",
                            );
                        }
                    }
                    Use::ExtraIndexUrl => push_once(&mut self.pip.extra_index_urls, url),
                    _ => push_once(&mut self.pip.find_links, url),
                }
            }
            Err((reason, remedy)) => {
                self.findings
                    .error(place, format!("`{}`: {reason}", option.name), remedy);
            }
        }
    }

    /// pip's `handle_mutual_excludes`: a later option takes what it names from the other list.
    fn binary(&mut self, place: Place<'_>, option: &options::OptionLine<'_>) {
        for word in option
            .value
            .split(',')
            .map(str::trim)
            .filter(|w| !w.is_empty())
        {
            let (list, other) = match option.action {
                Use::NoBinary => (&mut self.no_binary, &mut self.only_binary),
                _ => (&mut self.only_binary, &mut self.no_binary),
            };
            if word == ":none:" {
                list.clear();
            } else if word == ":all:" {
                other.clear();
                *list = BTreeSet::from([word.to_owned()]);
            } else if let Some(name) = requirement::normal_name(word) {
                other.remove(&name);
                list.insert(name);
            } else {
                self.findings.error(
                    place,
                    format!("{} behind `{}` is no package", quoted(word), option.name),
                    "write names of packages, `:all:` or `:none:`",
                );
            }
        }
    }

    fn editable(&mut self, place: Place<'_>, value: &str, role: Role) {
        if role == Role::Constraints || !value.contains("://") {
            self.findings.error(
                place,
                format!(
                    "{} behind `-e` is a path, and kiln builds without your files",
                    quoted(value)
                ),
                "upload a wheel of the project to kiln, or name its git address",
            );
            return;
        }
        self.findings.warn(
            place,
            "`-e` of a git address is the same without `-e` in an image",
            "leave `-e` out",
        );
        self.requirement(place, value, role);
    }

    fn include(&mut self, place: Place<'_>, value: &str, folder: &str, role: Role) {
        let Some(path) = joined(folder, value) else {
            self.findings.error(
                place,
                format!(
                    "{} is not a relative path inside the environment's folder",
                    quoted(value)
                ),
                "include files beside the document, and supply them (`files`, `--files DIR`)",
            );
            return;
        };
        let Some(text) = self.files.get(&path) else {
            self.findings.error(
                place,
                format!("the included file {} was not supplied", quoted(&path)),
                "supply it in `files` (API) or with `--files DIR` (command line)",
            );
            return;
        };
        if self.include_stack.contains(&path) {
            self.findings.error(
                place,
                format!("{} includes itself", quoted(&path)),
                "remove one of the includes",
            );
            return;
        }
        if self.include_stack.len() >= INCLUDE_DEPTH_LIMIT {
            self.findings.error(
                place,
                "files include each other too deep",
                "make them flatter",
            );
            return;
        }
        if !self.included.insert((path.clone(), role)) {
            return;
        }
        if text.len() > DOCUMENT_LIMIT_BYTES {
            self.findings.error(
                place,
                format!(
                    "the included file {} is larger than the limit",
                    quoted(&path)
                ),
                "split the environment",
            );
            return;
        }
        let folder = path
            .rsplit_once('/')
            .map_or("", |(folder, _)| folder)
            .to_owned();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).to_owned();
        self.include_stack.push(path.clone());
        self.file(&path, &text, &folder, role);
        self.include_stack.pop();
    }
}

/// The names of a binary option; `:all:` includes every other.
fn named(names: BTreeSet<String>) -> Vec<String> {
    if names.contains(":all:") {
        vec![":all:".to_owned()]
    } else {
        names.into_iter().collect()
    }
}

/// A requirement and the options behind it, which begin at the first word with `-`, as in pip.
fn cut_options(text: &str) -> (&str, &str) {
    let mut previous_is_space = false;
    for (at, c) in text.char_indices() {
        if c == '-' && previous_is_space {
            return (text[..at].trim_end(), &text[at..]);
        }
        previous_is_space = c.is_whitespace();
    }
    (text, "")
}

/// Order is priority: the first of equal entries counts.
fn push_once(list: &mut Vec<String>, item: String) {
    if !list.contains(&item) {
        list.push(item);
    }
}

/// `algorithm:hex` with the digits that the algorithm has.
fn checked_hash(text: &str) -> Option<String> {
    let (algorithm, hex) = text.split_once(':')?;
    let digits = match algorithm.to_ascii_lowercase().as_str() {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return None,
    };
    let valid = hex.len() == digits && hex.bytes().all(|b| b.is_ascii_hexdigit());
    valid.then(|| text.to_ascii_lowercase())
}

/// A path relative to the including file; `None` when it leaves the root or is no plain path.
fn joined(folder: &str, value: &str) -> Option<String> {
    if value.starts_with(['/', '~']) || value.contains(['\\', ':', '\0']) {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in value.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
