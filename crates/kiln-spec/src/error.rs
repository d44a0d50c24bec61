//! What is wrong with a document, and what a person should know of it.

use std::fmt::{self, Write as _};

/// One fault of a document: where it is, why it is one, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError {
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1, where one is known.
    pub line: Option<usize>,
    /// The field, for example `dependencies[2]`; empty where the whole document is meant.
    pub field: String,
    /// Why it is a fault.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// All faults of a document; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors(Vec<SpecError>);

/// Something that does not stop a document but that a person should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning(SpecError);

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}; {}", self.reason, self.remedy)
    }
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for SpecErrors {}

impl SpecErrors {
    /// The faults, in the order of the document.
    pub fn iter(&self) -> impl Iterator<Item = &SpecError> {
        self.0.iter()
    }

    pub(crate) fn one(error: SpecError) -> Self {
        Self(vec![error])
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Warning {
    /// Where it is and what it says.
    pub fn finding(&self) -> &SpecError {
        &self.0
    }
}

/// A place in a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) file: &'a str,
    pub(crate) line: usize,
    pub(crate) field: &'a str,
}

/// Collects what is found, so that all faults of a document are told at once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<SpecError>,
    warnings: Vec<Warning>,
}

/// More faults than these say nothing new.
const ERROR_LIMIT: usize = 100;

impl Findings {
    pub(crate) fn error(
        &mut self,
        place: Place<'_>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.errors.len() < ERROR_LIMIT {
            self.errors.push(finding(place, reason, remedy));
        }
    }

    pub(crate) fn warn(
        &mut self,
        place: Place<'_>,
        reason: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.warnings.len() < ERROR_LIMIT {
            self.warnings.push(Warning(finding(place, reason, remedy)));
        }
    }

    /// The warnings, or all errors.
    pub(crate) fn finish(self) -> Result<Vec<Warning>, SpecErrors> {
        if self.errors.is_empty() {
            return Ok(self.warnings);
        }
        // Sections are read in their own order; people read a file from above.
        let mut errors = self.errors;
        if errors.iter().all(|error| error.file == errors[0].file) {
            errors.sort_by_key(|error| error.line);
        }
        Err(SpecErrors(errors))
    }
}

fn finding(place: Place<'_>, reason: impl Into<String>, remedy: impl Into<String>) -> SpecError {
    SpecError {
        file: place.file.to_owned(),
        line: (place.line > 0).then_some(place.line),
        field: place.field.to_owned(),
        reason: reason.into(),
        remedy: remedy.into(),
    }
}

/// A text of the document, cut, escaped and without credentials, for messages.
pub(crate) fn quoted(text: &str) -> String {
    const LIMIT: usize = 120;
    let text = without_credentials(text);
    let mut short: String = text
        .chars()
        .take(LIMIT)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(LIMIT).is_some() {
        short.push('…');
    }
    format!("`{}`", short.replace("\\'", "'").replace("\\\"", "\""))
}

/// Hides the user part, the path token and the query of every address in a text.
fn without_credentials(text: &str) -> std::borrow::Cow<'_, str> {
    let Some(start) = text.find("://") else {
        return text.into();
    };
    let mut clean = text[..start].to_owned();
    for address in text[start + 3..].split("://") {
        clean.push_str("://");
        let end = address.find(['/', '?', '#', ' ']).unwrap_or(address.len());
        let (authority, rest) = address.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                write!(clean, "***@{host}").expect("writing to a String never fails");
            }
            None => clean.push_str(authority),
        }
        let rest = match rest.strip_prefix("/t/") {
            Some(token) => {
                clean.push_str("/t/***");
                &token[token.find(['/', ' ', '?', '#']).unwrap_or(token.len())..]
            }
            None => rest,
        };
        match rest.split_once('?') {
            Some((path, query)) => {
                clean.push_str(path);
                clean.push_str("?***");
                clean.push_str(&query[query.find([' ', '#']).unwrap_or(query.len())..]);
            }
            None => clean.push_str(rest),
        }
    }
    clean.into()
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn messages_never_tell_a_credential() {
        for (text, expected) in [
            ("x @ https://me:s3cret@h.org/x", "`x @ https://***@h.org/x`"),
            ("https://h.org/t/s3cret/ch", "`https://h.org/t/***/ch`"),
            (
                "https://h.org/x?sig=s3cret ; a",
                "`https://h.org/x?*** ; a`",
            ),
            (
                "https://a:s3cret@h https://b:s3cret@i",
                "`https://***@h https://***@i`",
            ),
            ("a\nb", "`a\\nb`"),
        ] {
            assert_eq!(quoted(text), expected);
        }
    }
}
