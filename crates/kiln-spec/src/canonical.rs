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
pub(crate) fn render_string(string: &str, text: &mut String) {
    text.push('"');
    let mut rest = string;
    while let Some(at) = rest
        .bytes()
        .position(|byte| byte < b' ' || byte == b'"' || byte == b'\\')
    {
        text.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            8 => text.push_str("\\b"),
            b'\t' => text.push_str("\\t"),
            b'\n' => text.push_str("\\n"),
            12 => text.push_str("\\f"),
            b'\r' => text.push_str("\\r"),
            byte => write!(text, "\\u{byte:04x}").expect("writing to a String never fails"),
        }
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(value: &Value) -> String {
        let mut text = String::new();
        render(value, &mut text);
        text
    }

    #[test]
    fn strings_are_escaped_as_rfc_8785_says() {
        let text = "a\"\\/\u{8}\t\n\u{c}\r\u{1f}\u{7f}é😀";
        assert_eq!(
            rendered(&Value::String(text.into())),
            "\"a\\\"\\\\/\\b\\t\\n\\f\\r\\u001f\u{7f}é😀\""
        );
    }

    #[test]
    fn keys_sort_by_utf_16_units() {
        // RFC 8785, section 3.2.3: U+1F600 is D83D DE00, and so before U+FB33.
        let value = serde_json::json!({"\u{fb33}": 1, "\u{1f600}": 2, "a": 3, "\r": 4});
        assert_eq!(
            rendered(&value),
            "{\"\\r\":4,\"a\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}"
        );
    }

    #[test]
    fn a_text_that_is_not_canonical_is_refused() {
        let json = r#"{"base":{"default":"cpu"},"platform":"linux/amd64","python":{"user_managed":false}}"#;
        assert!(Definition::from_canonical_json(json).is_ok());
        for other in [
            json.replace(',', ", "),
            json.replace("cpu", "tpu"),
            format!("{json} "),
            String::new(),
        ] {
            assert!(Definition::from_canonical_json(&other).is_err(), "{other}");
        }
    }
}
