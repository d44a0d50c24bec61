//! The way in: bytes and overrides become a definition.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::azureml;
use crate::base;
use crate::conda::{self, Context};
use crate::definition::{Base, Definition, Python};
use crate::detect::{self, Syntax};
use crate::document::{self, Node, ReadError};
use crate::error::{Findings, Place, SpecError, SpecErrors, Warning};
use crate::lookalike::Lookalike;
use crate::requirements;
use crate::secret::InlineCredential;
use crate::text;

/// Documents larger than this are refused.
pub const DOCUMENT_LIMIT_BYTES: usize = 1 << 20;

/// The platform of a document that names none.
pub(crate) const DEFAULT_PLATFORM: &str = "linux/amd64";

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An Azure ML environment (SDK v1 JSON).
    AzureMl,
    /// A conda `environment.yml`.
    Conda,
    /// A pip requirements file.
    Requirements,
}

impl Kind {
    /// `azureml`, `conda` or `requirements`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AzureMl => "azureml",
            Self::Conda => "conda",
            Self::Requirements => "requirements",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of azureml, conda, requirements")]
pub struct ParseKindError(String);

impl FromStr for Kind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "azureml" => Ok(Self::AzureMl),
            "conda" => Ok(Self::Conda),
            "requirements" => Ok(Self::Requirements),
            other => Err(ParseKindError(other.chars().take(40).collect())),
        }
    }
}

/// What a caller says beside the document; it wins over the document.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The base image.
    pub base: Option<String>,
    /// Asks for the GPU default base when none is given.
    pub gpu: bool,
    /// `os/arch[/variant]`.
    pub platform: Option<String>,
}

/// A document and what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// The document's name in messages.
    pub file_name: &'a str,
    /// The document.
    pub bytes: &'a [u8],
    /// What it is, where the caller knows; else its shape tells.
    pub kind: Option<Kind>,
    /// Files that it may include, text by relative path.
    pub files: &'a BTreeMap<String, String>,
    /// What the caller says beside it.
    pub overrides: &'a Overrides,
}

/// A document that was understood.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// What it was.
    pub kind: Kind,
    /// Its canonical definition.
    pub definition: Definition,
    /// Credentials that stood in it; they are nowhere else now.
    pub credentials: Vec<InlineCredential>,
    /// What a person should know.
    pub warnings: Vec<Warning>,
    /// The environment's name, where the document has one; not part of the identity.
    pub name: Option<String>,
    /// The environment's version, where the document has one; not part of the identity.
    pub version: Option<String>,
}

/// Parses, validates and canonicalises a document.
///
/// # Errors
/// All faults of the document at once, each with file, line, field, reason and remedy.
pub fn parse(input: &Input<'_>) -> Result<Parsed, SpecErrors> {
    let fault = |line: Option<usize>, reason: String, remedy: &str| {
        SpecErrors::one(SpecError {
            file: input.file_name.to_owned(),
            line,
            field: String::new(),
            reason,
            remedy: remedy.to_owned(),
        })
    };
    if input.bytes.len() > DOCUMENT_LIMIT_BYTES {
        return Err(fault(
            None,
            format!(
                "the document is larger than {} KiB",
                DOCUMENT_LIMIT_BYTES >> 10
            ),
            "give an environment file, not a package or an archive",
        ));
    }
    let text = text::decode(input.bytes).map_err(|error| {
        fault(
            error.line(input.bytes),
            error.to_string(),
            "save it as UTF-8",
        )
    })?;
    if let Some(line) = text.lines().position(|line| line.contains('\0')) {
        return Err(fault(
            Some(line + 1),
            "the document has a NUL character".into(),
            "save it as text",
        ));
    }
    let (kind, root) = understand(input, &text)?;
    let mut reading = Reading {
        input,
        findings: Findings::default(),
        credentials: Vec::new(),
    };
    let (definition, name, version) = match (kind, root) {
        (Kind::AzureMl, Some(root)) => azureml::read(&root, &mut reading),
        (Kind::Conda, Some(root)) => reading.conda(&root, &text),
        _ => (reading.requirements(&text), None, None),
    };
    let warnings = reading.findings.finish()?;
    let mut credentials = reading.credentials;
    credentials.dedup();
    Ok(Parsed {
        kind,
        definition,
        credentials,
        warnings,
        name,
        version,
    })
}

/// The text of a document: UTF-8, or UTF-16 with a byte order mark.
pub fn text_of(bytes: &[u8]) -> Result<String, crate::DecodeError> {
    text::decode(bytes)
}

/// The kind, and the tree where the document has one.
fn understand(input: &Input<'_>, text: &str) -> Result<(Kind, Option<Node>), SpecErrors> {
    let at = |line: usize, reason: String, remedy: &str| {
        SpecErrors::one(SpecError {
            file: input.file_name.to_owned(),
            line: (line > 0).then_some(line),
            field: String::new(),
            reason,
            remedy: remedy.to_owned(),
        })
    };
    let unreadable = |error: ReadError| at(error.line, error.reason, error.remedy);
    let lookalike = |line: usize, other: Lookalike| at(line, other.reason.into(), other.remedy);
    let syntax = match input.kind {
        Some(Kind::Requirements) => return Ok((Kind::Requirements, None)),
        Some(Kind::AzureMl) => Syntax::Json,
        Some(Kind::Conda) => Syntax::Yaml,
        None => detect::syntax(text).map_err(|other| lookalike(first_line(text), other))?,
    };
    let root = match syntax {
        Syntax::Requirements => return Ok((Kind::Requirements, None)),
        Syntax::Json => document::read_json(text).map_err(unreadable)?,
        Syntax::Yaml | Syntax::Flow => document::read_yaml(text).map_err(unreadable)?,
    };
    match detect::kind(&root) {
        Ok(kind) if input.kind.is_none_or(|wanted| wanted == kind) => Ok((kind, Some(root))),
        Ok(kind) => Err(at(
            root.line,
            format!(
                "this is {kind}, and {} was asked for",
                input.kind.map_or("", Kind::as_str)
            ),
            "leave the kind out, or give the other document",
        )),
        // A conda file may ask for nothing.
        Err(_) if input.kind == Some(Kind::Conda) && only_conda_keys(&root) => {
            Ok((Kind::Conda, Some(root)))
        }
        Err(other) => Err(lookalike(root.line, other)),
    }
}

/// The first line that says something.
fn first_line(text: &str) -> usize {
    let says = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    text.lines()
        .position(says)
        .map_or(1, |position| position + 1)
}

fn only_conda_keys(root: &Node) -> bool {
    let keys = ["name", "channels", "prefix", "variables"];
    root.map()
        .is_some_and(|entries| entries.iter().all(|e| keys.contains(&e.key.as_str())))
}

/// What the readers of all kinds share.
pub(crate) struct Reading<'a> {
    pub(crate) input: &'a Input<'a>,
    pub(crate) findings: Findings,
    pub(crate) credentials: Vec<InlineCredential>,
}

impl Reading<'_> {
    fn conda(&mut self, root: &Node, text: &str) -> (Definition, Option<String>, Option<String>) {
        let file = conda::read(
            root,
            &mut Context {
                file: self.input.file_name,
                path: "",
                text,
                files: self.input.files,
                findings: &mut self.findings,
                credentials: &mut self.credentials,
            },
        );
        let name = root
            .field("name")
            .and_then(|entry| entry.value.scalar())
            .map(str::to_owned);
        let definition = Definition {
            conda: file.conda,
            pip: file.pip,
            ..self.plain()
        };
        (definition, name, None)
    }

    fn requirements(&mut self, text: &str) -> Definition {
        let file = self.input.file_name;
        let mut reader =
            requirements::Reader::new(self.input.files, &mut self.findings, &mut self.credentials);
        reader.text(file, text);
        let pip = reader.finish(Place {
            file,
            line: 0,
            field: "",
        });
        Definition {
            pip,
            ..self.plain()
        }
    }

    /// A definition with platform and base of the overrides, and nothing else.
    fn plain(&mut self) -> Definition {
        let gpu = self.input.overrides.gpu;
        Definition {
            platform: self.platform(
                None,
                Place {
                    file: self.input.file_name,
                    line: 0,
                    field: "",
                },
            ),
            base: self
                .base_override(gpu)
                .unwrap_or_else(|| base::default(gpu)),
            python: Python {
                user_managed: false,
                interpreter_path: None,
                base_conda_environment: None,
            },
            conda: None,
            pip: None,
            environment_variables: BTreeMap::new(),
            spark: None,
            r: None,
            inferencing_stack_version: None,
        }
    }

    /// The base of the overrides.
    pub(crate) fn base_override(&mut self, gpu: bool) -> Option<Base> {
        let text = self.input.overrides.base.as_deref()?;
        let place = Place {
            file: self.input.file_name,
            line: 0,
            field: "base",
        };
        let reference = base::image(text, place, &mut self.findings, &mut self.credentials)?;
        Some(base::with_gpu(reference, gpu, place, &mut self.findings))
    }

    /// The platform of the overrides, of the document, or the default.
    pub(crate) fn platform(&mut self, document: Option<&str>, place: Place<'_>) -> String {
        let (text, place) = match (&self.input.overrides.platform, document) {
            (Some(text), _) => (
                text.as_str(),
                Place {
                    file: self.input.file_name,
                    line: 0,
                    field: "platform",
                },
            ),
            (None, Some(text)) => (text, place),
            (None, None) => return DEFAULT_PLATFORM.to_owned(),
        };
        match base::platform(text) {
            Ok(platform) => platform,
            Err(reason) => {
                self.findings
                    .error(place, reason, "use linux/amd64 or linux/arm64");
                DEFAULT_PLATFORM.to_owned()
            }
        }
    }
}
