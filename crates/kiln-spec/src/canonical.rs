//! The canonical text of a definition: RFC 8785 JSON.

use std::fmt::Write as _;

use serde_json::Value;

use crate::definition::Definition;
use crate::spec_hash::SpecHash;

/// A text that is not the canonical form of a definition.
#[derive(Debug, thiserror::Error)]
#[error("the stored definition is not in canonical form")]
pub struct ParseCanonicalError(#[source] Option<serde_json::Error>);

impl Definition {
    /// The canonical JSON (RFC 8785): no white space, keys in UTF-16 order, no numbers.
    pub fn canonical_json(&self) -> String {
        let value = serde_json::to_value(self).expect("a definition is plain data with text keys");
        let mut text = String::new();
        render(&value, &mut text);
        text
    }

    /// The definition's identity.
    pub fn spec_hash(&self) -> SpecHash {
        SpecHash::of_canonical_json(&self.canonical_json())
    }

    /// Reads [`Self::canonical_json`]; any other text of the same content is refused.
    pub fn from_canonical_json(text: &str) -> Result<Self, ParseCanonicalError> {
        let definition: Self =
            serde_json::from_str(text).map_err(|error| ParseCanonicalError(Some(error)))?;
        if definition.canonical_json() == text {
            Ok(definition)
        } else {
            Err(ParseCanonicalError(None))
        }
    }
}

fn render(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => write!(text, "{number}").expect("writing to a String never fails"),
        Value::String(string) => render_string(string, text),
        Value::Array(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                render(item, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (position, (key, value)) in fields.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                render_string(key, text);
                text.push(':');
                render(value, text);
            }
            text.push('}');
        }
    }
}

/// RFC 8785, section 3.2.2.2.
fn render_string(string: &str, text: &mut String) {
    text.push('"');
    for c in string.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            c if c < '\u{20}' => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("writing to a String never fails");
            }
            c => text.push(c),
        }
    }
    text.push('"');
}
