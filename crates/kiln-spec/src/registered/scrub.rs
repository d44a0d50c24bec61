//! Takes credentials out of a document's text, and leaves all else as it is.

use super::sections::Section;
use crate::address;
use crate::document::{Entry, Node, Scalar, Value};

/// A text whose addresses have no credentials any more; one that has none stays as it is.
pub(super) fn text(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let scheme = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let start = rest[..at]
            .char_indices()
            .rev()
            .take_while(|(_, c)| scheme(*c))
            .last()
            .map_or(at, |(start, _)| start);
        let ends = |c: char| c.is_whitespace() || "\"'<>".contains(c);
        let end = at + rest[at..].find(ends).unwrap_or(rest.len() - at);
        // Signs that close a list or map of YAML are no part of an address.
        let end = start + rest[start..end].trim_end_matches([',', ']', '}']).len();
        clean.push_str(&rest[..start]);
        let written = &rest[start..end];
        match address::git(written) {
            Ok(address) if !address.credentials.is_empty() => clean.push_str(&address.text),
            _ => clean.push_str(written),
        }
        rest = &rest[end..];
    }
    clean.push_str(rest);
    clean
}

/// An image's name without a user before its host.
pub(super) fn image(text: &str) -> String {
    let trimmed = text.trim();
    match trimmed.split_once('@') {
        Some((user, rest))
            if !user.contains('/') && rest.contains('/') && !rest.starts_with("sha256:") =>
        {
            rest.to_owned()
        }
        _ => text.to_owned(),
    }
}

/// An environment without credentials: passwords and tokens are null. The content of the image, its
/// variables and Dockerfile, stays as it is.
pub(super) fn tree(node: &mut Node, section: Section) {
    match &mut node.value {
        Value::Map(entries) => {
            for entry in entries {
                field(entry, section);
            }
        }
        Value::List(items) => {
            for item in items {
                tree(item, section);
            }
        }
        Value::Scalar(scalar, Scalar::Text) => *scalar = text(scalar),
        Value::Scalar(..) => {}
    }
}

fn field(entry: &mut Entry, section: Section) {
    let (key, child) = section.field(&entry.key);
    match (section, key.as_str()) {
        (Section::Registry, "password") | (Section::GitHub, "authToken") => {
            entry.value = super::build_tree::null();
        }
        (Section::Environment, "environmentVariables") | (Section::Docker, "baseDockerfile") => {}
        (Section::Docker, "baseImage") => {
            if let Value::Scalar(name, Scalar::Text) = &mut entry.value.value {
                *name = image(name);
            }
        }
        _ => tree(&mut entry.value, child),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_credentials_and_the_rest_stays() {
        for (dirty, clean) in [
            (
                "--index-url https://me:pw@h.org/simple",
                "--index-url https://h.org/simple",
            ),
            (
                "x @ git+https://tok@h.org/x.git@v1 ; a",
                "x @ git+https://h.org/x.git@v1 ; a",
            ),
            (
                "[\"https://h.org/t/tk/ch\", 'https://i.org?sig=x']",
                "[\"https://h.org/ch\", 'https://i.org/']",
            ),
            (
                "channels: [https://me:pw@h.org/c, d]",
                "channels: [https://h.org/c, d]",
            ),
            ("https://${U}:${P}@h.org/x", "https://${U}:${P}@h.org/x"),
            ("HTTPS://H.org/x y", "HTTPS://H.org/x y"),
            ("://", "://"),
            ("a://b://c", "a://b://c"),
            ("no address", "no address"),
        ] {
            assert_eq!(text(dirty), clean, "{dirty}");
        }
        assert_eq!(image("me:pw@h.org/x:1"), "h.org/x:1");
        assert_eq!(image("x@sha256:00"), "x@sha256:00");
    }
}
