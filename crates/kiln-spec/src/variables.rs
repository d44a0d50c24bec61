//! Maps of environment variables.

use std::collections::BTreeMap;

use crate::document::{Node, Scalar, Value};
use crate::error::{Findings, Place, quoted};

/// Reads variables; numbers are taken as they are written. What YAML reads as a boolean or as nothing has no one
/// text (conda writes `True` and `None`), and is refused.
pub(crate) fn read(
    node: &Node,
    place: Place<'_>,
    findings: &mut Findings,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    if node.is_null() {
        return variables;
    }
    let Some(entries) = node.map() else {
        findings.error(
            place,
            format!(
                "{} stands where a map of variables is expected",
                node.kind()
            ),
            "write `NAME: value` for each",
        );
        return variables;
    };
    for entry in entries {
        let field = format!("{}.{}", place.field, entry.key);
        let place = Place {
            line: entry.line,
            field: &field,
            ..place
        };
        if !is_name(&entry.key) {
            findings.error(
                place,
                format!("{} is no name of a variable", quoted(&entry.key)),
                "use letters, digits and `_`, and begin with no digit",
            );
            continue;
        }
        match &entry.value.value {
            Value::Scalar(text, Scalar::Text | Scalar::Number) => {
                if text.chars().any(|c| c.is_control() && c != '\t') {
                    findings.error(
                        place,
                        "the value has a line break or another control character",
                        "remove it: an image's variable is one line",
                    );
                    continue;
                }
                variables.insert(entry.key.clone(), text.clone());
            }
            Value::Scalar(..) => findings.error(
                place,
                format!("{} stands where a text is expected", entry.value.kind()),
                "write the value in quotes",
            ),
            _ => findings.error(
                place,
                format!("{} stands where a text is expected", entry.value.kind()),
                "write the value as a text",
            ),
        }
    }
    variables
}

/// POSIX.1-2017, section 8.1, with the lower case that is common.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}
