//! YAML and JSON read into one tree that knows the line of everything.

use std::collections::HashMap;

mod json;
mod render;
mod yaml;

pub(crate) use json::read as read_json;
pub(crate) use yaml::read as read_yaml;

/// Nesting deeper than this is refused.
pub(crate) const DEPTH_LIMIT: usize = 64;
/// A tree with more nodes is refused: aliases can't multiply a small document without end.
pub(crate) const NODE_LIMIT: usize = 200_000;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) value: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// A scalar as it was written, and what it is by YAML's core schema.
    Scalar(String, Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// What a scalar is (YAML 1.2.2, section 10.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scalar {
    Text,
    Number,
    Bool,
    Null,
}

/// A field of a map; keys are unique.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) value: Node,
}

/// Why a text is no tree, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadError {
    pub(crate) line: usize,
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

impl ReadError {
    fn syntax(line: usize, reason: impl Into<String>) -> Self {
        Self {
            line,
            reason: reason.into(),
            remedy: "correct the syntax",
        }
    }
}

impl Node {
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, Value::Scalar(_, Scalar::Null))
    }

    /// What it is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::Scalar(_, Scalar::Text) => "text",
            Value::Scalar(_, Scalar::Number) => "a number",
            Value::Scalar(_, Scalar::Bool) => "true or false",
            Value::Scalar(_, Scalar::Null) => "nothing",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// The text of a scalar that is there, as it was written.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(_, Scalar::Null) => None,
            Value::Scalar(text, _) => Some(text),
            _ => None,
        }
    }

    /// The text of a scalar that is a text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, Scalar::Text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn map(&self) -> Option<&[Entry]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The field of this exact name.
    pub(crate) fn field(&self, key: &str) -> Option<&Entry> {
        self.map()?.iter().find(|entry| entry.key == key)
    }
}

/// Refuses a second field of the same name; maps are read whole before, so that many fields cost little.
fn check_duplicates(entries: &[Entry]) -> Result<(), ReadError> {
    let mut lines: HashMap<&str, usize> = HashMap::with_capacity(entries.len());
    for entry in entries {
        if let Some(first) = lines.insert(&entry.key, entry.line) {
            return Err(ReadError {
                line: entry.line,
                reason: format!(
                    "the key {} is there twice, first in line {first}",
                    crate::error::quoted(&entry.key)
                ),
                remedy: "keep one of them",
            });
        }
    }
    Ok(())
}
