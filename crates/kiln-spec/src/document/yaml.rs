//! YAML 1.2 by its core schema; duplicate keys, alias bombs and unknown tags are refused.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::{DEPTH_LIMIT, Entry, NODE_LIMIT, Node, ReadError, Scalar, Value, check_duplicates};

/// Reads a stream of one YAML document.
pub(crate) fn read(text: &str) -> Result<Node, ReadError> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            ReadError::syntax(
                error.marker().line(),
                format!("this is no YAML: {}", error.info()),
            )
        })?;
        builder.event(event, span.start.line())?;
    }
    Ok(builder.root.unwrap_or(Node {
        line: 1,
        value: Value::Scalar(String::new(), Scalar::Null),
    }))
}

/// A list or map that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    /// Entries, and the key that waits for its value.
    Map(Vec<Entry>, Option<(String, usize)>),
}

/// What an anchor names.
struct Anchored {
    node: Node,
    nodes: usize,
    depth: usize,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    documents: usize,
    root: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, line: usize) -> Result<(), ReadError> {
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(ReadError {
                        line,
                        reason: "the file has more than one YAML document".into(),
                        remedy: "keep one of them",
                    });
                }
                Ok(())
            }
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(ReadError::syntax(
                        line,
                        "an alias stands inside what it names",
                    ));
                };
                let (nodes, depth) = (anchored.nodes, anchored.depth);
                self.count(nodes, depth, line)?;
                let node = Node {
                    line,
                    value: self.anchors[&anchor].node.value.clone(),
                };
                self.add(node, line)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, 0, line)?;
                let scalar = resolve(&text, style, tag.as_deref(), line)?;
                let node = Node {
                    line,
                    value: Value::Scalar(text.into_owned(), scalar),
                };
                self.remember(anchor, &node);
                self.add(node, line)
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_deref(), "seq", line)?;
                self.begin(anchor, OpenKind::List(Vec::new()), line)
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_deref(), "map", line)?;
                self.begin(anchor, OpenKind::Map(Vec::new(), None), line)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            _ => Ok(()),
        }
    }

    /// Counts nodes that come in below the open ones, `depth` levels deep.
    fn count(&mut self, nodes: usize, depth: usize, line: usize) -> Result<(), ReadError> {
        self.nodes += nodes;
        if self.nodes > NODE_LIMIT || self.open.len() + depth > DEPTH_LIMIT {
            return Err(ReadError {
                line,
                reason: format!(
                    "the document is nested deeper than {DEPTH_LIMIT}, or too large with its aliases"
                ),
                remedy: "make it flatter or smaller, and write aliases out",
            });
        }
        Ok(())
    }

    fn begin(&mut self, anchor: usize, kind: OpenKind, line: usize) -> Result<(), ReadError> {
        self.count(1, 1, line)?;
        self.open.push(Open { line, anchor, kind });
        Ok(())
    }

    fn end(&mut self) -> Result<(), ReadError> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.kind {
            OpenKind::List(items) => Value::List(items),
            OpenKind::Map(entries, _) => {
                check_duplicates(&entries)?;
                Value::Map(entries)
            }
        };
        let node = Node {
            line: open.line,
            value,
        };
        self.remember(open.anchor, &node);
        self.add(node, open.line)
    }

    fn remember(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            let (nodes, depth) = measure(node);
            self.anchors.insert(
                anchor,
                Anchored {
                    node: node.clone(),
                    nodes,
                    depth,
                },
            );
        }
    }

    fn add(&mut self, node: Node, line: usize) -> Result<(), ReadError> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(OpenKind::List(items)) => items.push(node),
            Some(OpenKind::Map(entries, key)) => {
                if let Some((key, line)) = key.take() {
                    entries.push(Entry {
                        key,
                        line,
                        value: node,
                    });
                } else {
                    let Value::Scalar(text, _) = node.value else {
                        return Err(ReadError {
                            line,
                            reason: "a key is a list or a map, as `{{` reads without quotes".into(),
                            remedy: "quote texts that begin with `{` or `[`, and fill in templates",
                        });
                    };
                    *key = Some((text, line));
                }
            }
        }
        Ok(())
    }
}

/// How many nodes a tree has, and how deep its lists and maps nest.
fn measure(node: &Node) -> (usize, usize) {
    let below: Vec<(usize, usize)> = match &node.value {
        Value::Scalar(..) => return (1, 0),
        Value::List(items) => items.iter().map(measure).collect(),
        Value::Map(entries) => entries.iter().map(|entry| measure(&entry.value)).collect(),
    };
    let nodes = below.iter().map(|(nodes, _)| nodes).sum::<usize>();
    let depth = below.iter().map(|(_, depth)| *depth).max().unwrap_or(0);
    (nodes + 1, depth + 1)
}

fn check_tag(tag: Option<&Tag>, expected: &str, line: usize) -> Result<(), ReadError> {
    match tag {
        None => Ok(()),
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == expected => Ok(()),
        Some(tag) => Err(unknown_tag(tag, line)),
    }
}

fn unknown_tag(tag: &Tag, line: usize) -> ReadError {
    ReadError {
        line,
        reason: format!(
            "the tag {} is not one of an environment",
            crate::error::quoted(&tag.suffix)
        ),
        remedy: "leave it out",
    }
}

fn resolve(
    text: &str,
    style: ScalarStyle,
    tag: Option<&Tag>,
    line: usize,
) -> Result<Scalar, ReadError> {
    if let Some(tag) = tag {
        if !tag.is_yaml_core_schema() {
            return Err(unknown_tag(tag, line));
        }
        return match tag.suffix.as_str() {
            "str" => Ok(Scalar::Text),
            "int" | "float" => Ok(Scalar::Number),
            "bool" => Ok(Scalar::Bool),
            "null" => Ok(Scalar::Null),
            _ => Err(unknown_tag(tag, line)),
        };
    }
    if style != ScalarStyle::Plain {
        return Ok(Scalar::Text);
    }
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Scalar::Bool,
        _ if is_number(text) => Scalar::Number,
        _ => Scalar::Text,
    })
}

/// YAML 1.2.2, section 10.3.2: integers and floats of the core schema.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = text.strip_prefix("0x") {
        return !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit());
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return !octal.is_empty() && octal.bytes().all(|b| (b'0'..=b'7').contains(&b));
    }
    if [".inf", ".Inf", ".INF"].contains(&unsigned) || [".nan", ".NaN", ".NAN"].contains(&text) {
        return true;
    }
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (unsigned, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.map(|e| e.strip_prefix(['-', '+']).unwrap_or(e));
    !(whole.is_empty() && fraction.is_empty())
        && digits(whole)
        && digits(fraction)
        && exponent.is_none_or(|e| !e.is_empty() && digits(e))
}

#[cfg(test)]
mod tests {
    use super::Scalar::{Bool, Null, Number, Text};
    use super::*;

    #[test]
    fn scalars_are_what_the_core_schema_says_and_keep_their_spelling() {
        let node = read("a: 1.10\nb: '1.10'\nc: yes\nd: ~\ne: True\nf: 1e3\ng: 3.8.13\n").unwrap();
        let kinds: Vec<(&str, Scalar)> = node
            .map()
            .unwrap()
            .iter()
            .map(|entry| match &entry.value.value {
                Value::Scalar(text, kind) => (text.as_str(), *kind),
                _ => panic!("a scalar"),
            })
            .collect();
        let expected = [
            ("1.10", Number),
            ("1.10", Text),
            ("yes", Text),
            ("~", Null),
            ("True", Bool),
            ("1e3", Number),
            ("3.8.13", Text),
        ];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn aliases_work_and_bombs_do_not() {
        let node = read("a: &x [1, 2]\nb: *x\n").unwrap();
        assert_eq!(
            node.field("a").unwrap().value.value,
            node.field("b").unwrap().value.value
        );
        let mut bomb = vec!["a0: &a0 [x,x,x,x,x,x,x,x,x,x]".to_owned()];
        bomb.extend((1..20).map(|n| {
            let previous = format!("*a{},", n - 1);
            format!("a{n}: &a{n} [{}]", previous.repeat(10))
        }));
        let bomb = bomb.join("\n");
        assert!(read(&bomb).unwrap_err().reason.contains("aliases"));
        let mut deep = vec!["a0: &a0 [x]".to_owned()];
        deep.extend((1..100).map(|n| {
            let (open, close) = ("[".repeat(40), "]".repeat(40));
            format!("a{n}: &a{n} {open}*a{} {close}", n - 1)
        }));
        let deep = deep.join("\n");
        assert!(read(&deep).unwrap_err().reason.contains("deeper"));
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn duplicate_keys_tags_and_second_documents_are_refused_with_their_line() {
        assert_eq!(read("a: 1\nb: 2\na: 3\n").unwrap_err().line, 3);
        assert!(read("a: !!python/object 1\n").is_err());
        assert!(read("a: !x 1\n").is_err());
        assert!(read("a: 1\n---\nb: 2\n").is_err());
        assert!(read("a: [1\n").is_err());
    }
}
