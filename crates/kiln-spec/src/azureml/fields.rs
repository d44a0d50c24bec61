//! A map whose keys are the SDK's, in any letter case.

use std::collections::HashSet;

use crate::document::{Entry, Node, Scalar, Value};
use crate::error::{Place, quoted};
use crate::input::Reading;

/// A section of an environment.
pub(super) struct Section<'n> {
    entries: &'n [Entry],
    path: String,
    line: usize,
}

impl<'n> Section<'n> {
    /// The section of a map; anything else is an error, and empty.
    pub(super) fn of(node: &'n Node, path: &str, reading: &mut Reading<'_>) -> Self {
        let section = Self {
            entries: node.map().unwrap_or_default(),
            path: path.to_owned(),
            line: node.line,
        };
        if node.map().is_none() && !node.is_null() {
            section.error(
                reading,
                node.line,
                "",
                &format!("{} stands where a section is expected", node.kind()),
                "write it as the SDK does",
            );
        }
        let mut seen = HashSet::with_capacity(section.entries.len());
        for entry in section.entries {
            if !seen.insert(entry.key.to_ascii_lowercase()) {
                section.error(
                    reading,
                    entry.line,
                    &entry.key,
                    "the field is there twice, in other letter case",
                    "keep one of them",
                );
            }
        }
        section
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    pub(super) fn path(&self, field: &str) -> String {
        match (self.path.is_empty(), field.is_empty()) {
            (true, _) => field.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{field}", self.path),
        }
    }

    /// A field that is there and not null.
    pub(super) fn get(&self, key: &str) -> Option<&'n Entry> {
        let entry = self
            .entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(key))?;
        (!entry.value.is_null()).then_some(entry)
    }

    pub(super) fn text(&self, key: &str, reading: &mut Reading<'_>) -> Option<&'n str> {
        let entry = self.get(key)?;
        let text = if let Value::Scalar(text, Scalar::Text) = &entry.value.value {
            Some(text.as_str())
        } else {
            self.wrong(reading, entry, "a text");
            None
        };
        if key != "baseDockerfile" {
            if text.is_some_and(|text| text.chars().any(char::is_control)) {
                self.error(
                    reading,
                    entry.line,
                    key,
                    "the text has a control character",
                    "remove it",
                );
                return None;
            }
            if text.is_some_and(|text| text.contains("{{") || text.contains("{%")) {
                self.error(
                    reading,
                    entry.line,
                    key,
                    "the text is an unfilled template",
                    "write the value out",
                );
                return None;
            }
        }
        text.filter(|text| !text.is_empty())
    }

    /// A field that must be there.
    pub(super) fn required(&self, key: &str, reading: &mut Reading<'_>) -> Option<&'n str> {
        let text = self.text(key, reading);
        if text.is_none()
            && self
                .get(key)
                .is_none_or(|entry| entry.value.text() == Some(""))
        {
            let reason = format!("`{key}` is missing");
            self.error(
                reading,
                self.line,
                key,
                &reason,
                "write it, or leave the whole entry out",
            );
        }
        text
    }

    pub(super) fn flag(&self, key: &str, reading: &mut Reading<'_>) -> bool {
        let Some(entry) = self.get(key) else {
            return false;
        };
        if let Value::Scalar(text, Scalar::Bool) = &entry.value.value {
            text.eq_ignore_ascii_case("true")
        } else {
            self.wrong(reading, entry, "true or false");
            false
        }
    }

    /// Items of a list; nothing where there is none.
    pub(super) fn list(&self, key: &str, reading: &mut Reading<'_>) -> &'n [Node] {
        let Some(entry) = self.get(key) else {
            return &[];
        };
        if let Value::List(items) = &entry.value.value {
            items
        } else {
            self.wrong(reading, entry, "a list");
            &[]
        }
    }

    /// Warns of fields that the SDK does not know.
    pub(super) fn only(&self, known: &[&str], reading: &mut Reading<'_>) {
        for entry in self.entries {
            if !known.iter().any(|key| key.eq_ignore_ascii_case(&entry.key)) {
                let field = self.path(&entry.key);
                let place = Place {
                    file: reading.input.file_name,
                    line: entry.line,
                    field: &field,
                };
                reading.findings.warn(
                    place,
                    format!(
                        "the field {} is not one of an environment, and is ignored",
                        quoted(&entry.key)
                    ),
                    "leave it out",
                );
            }
        }
    }

    pub(super) fn error(
        &self,
        reading: &mut Reading<'_>,
        line: usize,
        field: &str,
        reason: &str,
        remedy: &str,
    ) {
        let field = self.path(field);
        let place = Place {
            file: reading.input.file_name,
            line,
            field: &field,
        };
        reading.findings.error(place, reason, remedy);
    }

    pub(super) fn warn(
        &self,
        reading: &mut Reading<'_>,
        line: usize,
        field: &str,
        reason: &str,
        remedy: &str,
    ) {
        let field = self.path(field);
        let place = Place {
            file: reading.input.file_name,
            line,
            field: &field,
        };
        reading.findings.warn(place, reason, remedy);
    }

    fn wrong(&self, reading: &mut Reading<'_>, entry: &Entry, wanted: &str) {
        let reason = format!("{} stands where {wanted} is expected", entry.value.kind());
        self.error(reading, entry.value.line, &entry.key, &reason, "correct it");
    }
}
