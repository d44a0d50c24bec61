//! Trees as JSON text.

use super::{Entry, Node, Scalar, Value};
use crate::canonical::render_string;

impl Node {
    /// Compact JSON with the fields in their order. Numbers stay as they were written; a scalar that
    /// only YAML takes for a number is a text.
    pub(crate) fn to_json(&self) -> String {
        let mut text = String::new();
        render(self, false, &mut text);
        text
    }

    /// As [`Self::to_json`], with the fields of every map in the order of their names.
    pub(crate) fn to_sorted_json(&self) -> String {
        let mut text = String::new();
        render(self, true, &mut text);
        text
    }
}

fn render(node: &Node, sorted: bool, text: &mut String) {
    match &node.value {
        Value::Scalar(scalar, kind) => render_scalar(scalar, *kind, text),
        Value::List(items) => {
            text.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                render(item, sorted, text);
            }
            text.push(']');
        }
        Value::Map(entries) => {
            let mut entries: Vec<&Entry> = entries.iter().collect();
            if sorted {
                entries.sort_by(|a, b| a.key.cmp(&b.key));
            }
            text.push('{');
            for (position, entry) in entries.into_iter().enumerate() {
                if position > 0 {
                    text.push(',');
                }
                render_string(&entry.key, text);
                text.push(':');
                render(&entry.value, sorted, text);
            }
            text.push('}');
        }
    }
}

fn render_scalar(scalar: &str, kind: Scalar, text: &mut String) {
    match kind {
        Scalar::Null => text.push_str("null"),
        Scalar::Bool => text.push_str(&scalar.to_ascii_lowercase()),
        Scalar::Number if is_json_number(scalar) => text.push_str(scalar),
        Scalar::Number | Scalar::Text => render_string(scalar, text),
    }
}

/// RFC 8259, section 6.
fn is_json_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use crate::document::{read_json, read_yaml};

    #[test]
    fn what_was_read_is_written_in_its_order() {
        let text = r#"{"b":[1.50,-2e3,true,null,"\u0001\"é"],"a":{"z":{},"y":[]}}"#;
        let node = read_json(text).unwrap();
        assert_eq!(node.to_json(), text);
        assert_eq!(
            node.to_sorted_json(),
            r#"{"a":{"y":[],"z":{}},"b":[1.50,-2e3,true,null,"\u0001\"é"]}"#
        );
    }

    #[test]
    fn scalars_of_yaml_become_those_of_json() {
        let node = read_yaml("a: [True, ~, 0x1f, .5, 3.10, '3.10']\n").unwrap();
        assert_eq!(
            node.to_json(),
            r#"{"a":[true,null,"0x1f",".5",3.10,"3.10"]}"#
        );
    }
}
