//! A document as the registry keeps it.

use std::collections::BTreeMap;

use super::digest::DocumentDigest;
use super::scrub;
use super::sections::{Section, spelled};
use crate::document;
use crate::error::{SpecError, SpecErrors};
use crate::input::{self, Input, Kind, Overrides, Parsed};
use crate::text;

/// A document without its credentials, and what belongs to it: it parses to the same definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDocument {
    /// What it is.
    pub kind: Kind,
    /// The text exactly as it came where it had no credentials; else without them.
    pub text: String,
    /// Files that it includes, text by relative path; without credentials too.
    pub files: BTreeMap<String, String>,
    /// What the caller said beside it.
    pub overrides: Overrides,
}

impl StoredDocument {
    /// Takes the credentials out of a document that was parsed.
    ///
    /// # Errors
    /// A credential stands where it can't be taken out without changing the definition.
    pub fn of(input: &Input<'_>, parsed: &Parsed) -> Result<Self, SpecErrors> {
        let mut document = Self {
            kind: parsed.kind,
            text: text::decode(input.bytes).unwrap_or_default(),
            files: input.files.clone(),
            overrides: input.overrides.clone(),
        };
        if parsed.credentials.is_empty() {
            return Ok(document);
        }
        let tree = (document.kind == Kind::AzureMl)
            .then(|| document::read_json(&document.text).ok())
            .flatten();
        document.text = if let Some(mut tree) = tree {
            scrub::tree(&mut tree, Section::Environment);
            tree.to_json()
        } else {
            scrub::text(&document.text)
        };
        for file in document.files.values_mut() {
            *file = scrub::text(file);
        }
        let base = &mut document.overrides.base;
        *base = base.as_deref().map(scrub::image);
        let again = document.parse(input.file_name)?;
        if again.credentials.is_empty() && again.definition == parsed.definition {
            return Ok(document);
        }
        Err(SpecErrors::one(SpecError {
            file: input.file_name.to_owned(),
            line: None,
            field: String::new(),
            reason: "a credential stands where it can't be separated from the environment".into(),
            remedy: "give it to kiln's credential store, and leave it out of the document".into(),
        }))
    }

    /// Parses it again.
    ///
    /// # Errors
    /// The document is not valid to this kiln.
    pub fn parse(&self, file_name: &str) -> Result<Parsed, SpecErrors> {
        input::parse(&Input {
            file_name,
            bytes: self.text.as_bytes(),
            kind: Some(self.kind),
            files: &self.files,
            overrides: &self.overrides,
        })
    }

    /// What decides whether it is the same environment as another one.
    pub fn digest(&self) -> DocumentDigest {
        DocumentDigest::of(&spelled(&self.azureml_tree(), Section::Environment))
    }
}
