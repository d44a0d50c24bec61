//! Trees that no document had.

use crate::document::{Entry, Node, Scalar, Value};

pub(super) fn text(text: &str) -> Node {
    scalar(text, Scalar::Text)
}

pub(super) fn flag(value: bool) -> Node {
    scalar(if value { "true" } else { "false" }, Scalar::Bool)
}

pub(super) fn null() -> Node {
    scalar("null", Scalar::Null)
}

pub(super) fn list(items: Vec<Node>) -> Node {
    node(Value::List(items))
}

pub(super) fn map<const N: usize>(fields: [(&str, Node); N]) -> Node {
    let fields = fields.into_iter().map(|(key, value)| entry(key, value));
    node(Value::Map(fields.collect()))
}

pub(super) fn entry(key: &str, value: Node) -> Entry {
    Entry {
        key: key.to_owned(),
        line: 0,
        value,
    }
}

fn scalar(text: &str, kind: Scalar) -> Node {
    node(Value::Scalar(text.to_owned(), kind))
}

fn node(value: Value) -> Node {
    Node { line: 0, value }
}

impl Node {
    /// The fields of a map, to be changed.
    pub(super) fn fields_mut(&mut self) -> Option<&mut Vec<Entry>> {
        match &mut self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// Sets a field of a map, in its place where it is there.
    pub(super) fn set(&mut self, key: &str, value: Self) {
        let Some(entries) = self.fields_mut() else {
            return;
        };
        match entries.iter_mut().find(|entry| entry.key == key) {
            Some(entry) => entry.value = value,
            None => entries.push(entry(key, value)),
        }
    }

    /// Sets a field that is missing or null.
    pub(super) fn set_default(&mut self, key: &str, value: Self) {
        if self.field(key).is_none_or(|entry| entry.value.is_null()) {
            self.set(key, value);
        }
    }
}
