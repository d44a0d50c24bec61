//! conda's environment.yml, and the same map inside an Azure ML environment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::channel;
use crate::definition::{Conda, Pip};
use crate::document::{Entry, Node, Scalar, Value};
use crate::error::{Findings, Place, quoted};
use crate::match_spec::MatchSpec;
use crate::requirements;
use crate::secret::InlineCredential;
use crate::selector;
use crate::variables;

/// Channels of one environment.
const CHANNEL_LIMIT: usize = 100;

/// What the two sections of a conda file become.
#[derive(Debug)]
pub(crate) struct CondaFile {
    pub(crate) conda: Option<Conda>,
    pub(crate) pip: Option<Pip>,
    /// How many of the dependencies are `python`.
    pub(crate) pythons: usize,
}

/// What reading a conda file needs beside its tree.
pub(crate) struct Context<'a> {
    pub(crate) file: &'a str,
    /// Put before field names: empty, or where the map stands in a larger document.
    pub(crate) path: &'a str,
    /// The file's text, where comments can stand in it.
    pub(crate) text: &'a str,
    pub(crate) files: &'a BTreeMap<String, String>,
    pub(crate) findings: &'a mut Findings,
    pub(crate) credentials: &'a mut Vec<InlineCredential>,
}

impl Context<'_> {
    fn field(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    fn error(&mut self, line: usize, field: &str, reason: impl Into<String>, remedy: &str) {
        let field = self.field(field);
        self.findings.error(
            Place {
                file: self.file,
                line,
                field: &field,
            },
            reason,
            remedy,
        );
    }

    fn warn(&mut self, line: usize, field: &str, reason: impl Into<String>, remedy: &str) {
        let field = self.field(field);
        self.findings.warn(
            Place {
                file: self.file,
                line,
                field: &field,
            },
            reason,
            remedy,
        );
    }
}

/// Reads the map of a conda file.
pub(crate) fn read(root: &Node, context: &mut Context<'_>) -> CondaFile {
    let mut conda = Conda {
        channels: Vec::new(),
        dependencies: Vec::new(),
        variables: BTreeMap::new(),
    };
    let mut dependencies = Dependencies::default();
    let mut channels_seen = false;
    for entry in root.map().unwrap_or_default() {
        match entry.key.as_str() {
            "name" | "prefix" => {
                if entry.value.scalar().is_none() && !entry.value.is_null() {
                    wrong_kind(context, entry, "a text");
                }
            }
            "channels" => {
                channels_seen = true;
                channels(entry, &mut conda, context);
            }
            "dependencies" => dependencies = self::dependencies(entry, context),
            "variables" => {
                let field = context.field("variables");
                let place = Place {
                    file: context.file,
                    line: entry.line,
                    field: &field,
                };
                conda.variables = variables::read(&entry.value, place, context.findings);
            }
            "<<" => context.error(
                entry.line,
                "<<",
                "merge keys are not taken",
                "write the entries out",
            ),
            other => context.warn(
                entry.line,
                other,
                "the key is not one of conda's, and is ignored",
                "leave it out; conda knows name, channels, dependencies, variables and prefix",
            ),
        }
    }
    let unpinned = dependencies
        .specs
        .iter()
        .filter(|spec| !spec.as_str().contains(' '))
        .count();
    if unpinned > 0 {
        context.warn(
            root.line,
            "dependencies",
            format!("{unpinned} conda dependencies name no version"),
            "the image keeps the versions of its first build; pin them to choose others",
        );
    }
    let pip_named = dependencies.specs.iter().any(|spec| spec.name == "pip");
    if dependencies.pip_lines > 0 && !pip_named && !dependencies.specs.is_empty() {
        context.warn(
            root.line,
            "dependencies",
            "there is a pip section, but `pip` is not among the conda dependencies",
            "add `pip`, which conda itself asks for; kiln needs none",
        );
    }
    let pythons = dependencies
        .specs
        .iter()
        .filter(|spec| spec.name == "python")
        .count();
    conda.dependencies = dependencies
        .specs
        .iter()
        .map(|s| s.as_str().to_owned())
        .collect();
    conda.dependencies.sort();
    conda.dependencies.dedup();
    if !channels_seen && !conda.dependencies.is_empty() {
        context.warn(
            root.line,
            "channels",
            "no channels are named",
            "name them, for example `channels: [conda-forge]`",
        );
    }
    let asked = !conda.dependencies.is_empty() || !conda.variables.is_empty();
    CondaFile {
        conda: asked.then_some(conda),
        pip: dependencies.pip,
        pythons,
    }
}

#[derive(Default)]
struct Dependencies {
    specs: Vec<MatchSpec>,
    pip: Option<Pip>,
    pip_lines: usize,
}

fn wrong_kind(context: &mut Context<'_>, entry: &Entry, wanted: &str) {
    context.error(
        entry.value.line,
        &entry.key,
        format!("{} stands where {wanted} is expected", entry.value.kind()),
        "correct it",
    );
}

fn channels(entry: &Entry, conda: &mut Conda, context: &mut Context<'_>) {
    let single;
    let items = match &entry.value.value {
        Value::List(items) => items,
        Value::Scalar(_, Scalar::Null) => return,
        Value::Scalar(..) => {
            single = vec![entry.value.clone()];
            &single
        }
        Value::Map(_) => return wrong_kind(context, entry, "a list of channels"),
    };
    for (index, item) in items.iter().enumerate() {
        let field = format!("channels[{index}]");
        if index >= CHANNEL_LIMIT {
            context.error(
                item.line,
                &field,
                format!("there are more than {CHANNEL_LIMIT} channels"),
                "keep those that are needed",
            );
            return;
        }
        let Some(text) = item.text() else {
            context.error(
                item.line,
                &field,
                format!("{} stands where a channel is expected", item.kind()),
                "write a channel's name or address",
            );
            continue;
        };
        match channel::canonical(text) {
            Ok(Some((channel, credentials))) => {
                context.credentials.extend(credentials);
                // Order is priority: the first of equal channels counts.
                if !conda.channels.contains(&channel) {
                    conda.channels.push(channel);
                }
            }
            Ok(None) => {}
            Err((reason, remedy)) => context.error(item.line, &field, reason, remedy),
        }
    }
}

fn dependencies(entry: &Entry, context: &mut Context<'_>) -> Dependencies {
    let mut found = Dependencies::default();
    let items = match &entry.value.value {
        Value::List(items) => items,
        Value::Scalar(_, Scalar::Null) => return found,
        _ => {
            wrong_kind(context, entry, "a list of dependencies");
            return found;
        }
    };
    let mut pip_items = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let field = || format!("dependencies[{index}]");
        match &item.value {
            Value::Scalar(text, Scalar::Text) => match MatchSpec::parse(text) {
                Ok(spec) => found.specs.push(spec),
                Err(fault) => context.error(item.line, &field(), fault.reason, fault.remedy),
            },
            Value::Map(entries) => sections(entries, index, &mut pip_items, context),
            _ => context.error(
                item.line,
                &field(),
                format!("{} stands where a dependency is expected", item.kind()),
                "write a package, or a `pip:` section",
            ),
        }
    }
    refuse_selectors(items, &pip_items, context);
    found.pip_lines = pip_items.len();
    found.pip = pip_section(&pip_items, entry.line, context);
    found
}

/// An item of a `pip:` section.
struct PipItem<'n> {
    /// The position of the section among the dependencies.
    section: usize,
    /// The position in the section, where it is a list.
    position: Option<usize>,
    node: &'n Node,
}

impl PipItem<'_> {
    /// Writes where the item stands.
    fn write_field(&self, path: &str, field: &mut String) {
        field.clear();
        let dot = if path.is_empty() { "" } else { "." };
        let section = self.section;
        let written = match self.position {
            Some(position) => write!(field, "{path}{dot}dependencies[{section}].pip[{position}]"),
            None => write!(field, "{path}{dot}dependencies[{section}].pip"),
        };
        written.expect("writing to a String never fails");
    }
}

/// The maps among the dependencies: `pip:` is the one that conda knows.
fn sections<'n>(
    entries: &'n [Entry],
    section: usize,
    pip_items: &mut Vec<PipItem<'n>>,
    context: &mut Context<'_>,
) {
    for part in entries {
        if part.key != "pip" {
            let (reason, remedy) = if part.key.starts_with("sel(") {
                (
                    format!(
                        "{} is a selector, which conda does not know",
                        quoted(&part.key)
                    ),
                    "list the packages of the platform that is built",
                )
            } else {
                (
                    format!("{} is no section of dependencies", quoted(&part.key)),
                    "list packages as texts, and pip's requirements under `pip:`",
                )
            };
            context.error(
                part.line,
                &format!("dependencies[{section}]"),
                reason,
                remedy,
            );
            continue;
        }
        match &part.value.value {
            Value::List(list) => {
                pip_items.extend(list.iter().enumerate().map(|(position, node)| PipItem {
                    section,
                    position: Some(position),
                    node,
                }));
            }
            Value::Scalar(_, Scalar::Null) => {}
            Value::Scalar(..) => {
                pip_items.push(PipItem {
                    section,
                    position: None,
                    node: &part.value,
                });
            }
            Value::Map(_) => wrong_kind(context, part, "a list of requirements"),
        }
    }
}

/// Looks at each line once: in a flow style many items share one.
fn refuse_selectors(items: &[Node], pip_items: &[PipItem<'_>], context: &mut Context<'_>) {
    if !context.text.contains('#') {
        return;
    }
    let texts: Vec<&str> = context.text.lines().collect();
    let items = items.iter().filter(|item| item.text().is_some());
    let lines: BTreeSet<usize> = items
        .chain(pip_items.iter().map(|item| item.node))
        .map(|item| item.line)
        .collect();
    for line in lines {
        let text = texts.get(line.saturating_sub(1));
        if let Some(selector) = text.and_then(|text| selector::of(text)) {
            context.error(
                line,
                "dependencies",
                format!(
                    "the selector `# [{selector}]` means something to conda-build, and nothing to conda"
                ),
                "list the packages of the platform that is built, and drop the selector",
            );
        }
    }
}

fn pip_section(items: &[PipItem<'_>], line: usize, context: &mut Context<'_>) -> Option<Pip> {
    let mut field = String::new();
    let mut faults = Vec::new();
    let mut reader =
        requirements::Reader::new(context.files, context.findings, context.credentials);
    for item in items {
        match item.node.text() {
            Some(text) => {
                item.write_field(context.path, &mut field);
                let place = Place {
                    file: context.file,
                    line: item.node.line,
                    field: &field,
                };
                reader.item(place, text);
            }
            // An empty line of a requirements file, as the SDK sends it.
            None if item.node.is_null() => {}
            None => faults.push(item),
        }
    }
    let section = match context.path {
        "" => "dependencies.pip".to_owned(),
        path => format!("{path}.dependencies.pip"),
    };
    let pip = reader.finish(Place {
        file: context.file,
        line,
        field: &section,
    });
    for item in faults {
        item.write_field(context.path, &mut field);
        context.findings.error(
            Place {
                file: context.file,
                line: item.node.line,
                field: &field,
            },
            format!(
                "{} stands where a requirement is expected",
                item.node.kind()
            ),
            "write a line of a requirements file",
        );
    }
    pip
}
