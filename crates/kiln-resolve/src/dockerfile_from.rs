//! The image a user's Dockerfile starts from, as far as its text alone tells it.

use std::collections::BTreeMap;

/// The reference of the last stage's `FROM`, through stages named earlier and defaults of `ARG`s before
/// the first one. `None` when the text does not tell it, or the image is `scratch`.
pub(crate) fn base_of(dockerfile: &str) -> Option<String> {
    let mut arguments: BTreeMap<String, String> = BTreeMap::new();
    let mut stages: BTreeMap<String, String> = BTreeMap::new();
    let mut last: Option<String> = None;
    for line in instructions(dockerfile) {
        let mut words = line.split_whitespace();
        let keyword = words.next().unwrap_or_default().to_ascii_uppercase();
        if keyword == "ARG" && last.is_none() {
            for word in words {
                if let Some((name, value)) = word.split_once('=') {
                    let value = value.trim_matches(['"', '\'']).to_owned();
                    arguments.insert(name.to_owned(), value);
                }
            }
        } else if keyword == "FROM" {
            let mut words = words.filter(|word| !word.starts_with("--"));
            let image = expanded(words.next()?, &arguments)?;
            let image = stages.get(&image.to_lowercase()).cloned().unwrap_or(image);
            if words
                .next()
                .is_some_and(|word| word.eq_ignore_ascii_case("as"))
                && let Some(name) = words.next()
            {
                stages.insert(name.to_lowercase(), image.clone());
            }
            last = Some(image);
        }
    }
    last.filter(|image| image != "scratch")
}

/// Lines without comments, joined over `\`.
fn instructions(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut open = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            open.push_str(part);
            open.push(' ');
        } else {
            open.push_str(line);
            lines.push(std::mem::take(&mut open));
        }
    }
    lines.push(open);
    lines
}

/// `$NAME`, `${NAME}` and `${NAME:-default}`; `None` when a name has no value.
fn expanded(text: &str, arguments: &BTreeMap<String, String>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        out.push_str(&rest[..start]);
        rest = &rest[start + 1..];
        let (expression, after) = if let Some(braced) = rest.strip_prefix('{') {
            braced.split_once('}')?
        } else {
            let end = rest
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            rest.split_at(end)
        };
        let (name, default) = match expression.split_once(":-") {
            Some((name, default)) => (name, Some(default.to_owned())),
            None => (expression, None),
        };
        out.push_str(&arguments.get(name).cloned().or(default)?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_decides() {
        for (text, base) in [
            ("FROM debian:12\nRUN x", Some("debian:12")),
            (
                "# c\nARG V=12\nFROM --platform=linux/amd64 debian:${V} AS one\nFROM one\n",
                Some("debian:12"),
            ),
            ("ARG B\nFROM ${B:-debian:12}", Some("debian:12")),
            ("FROM a AS Build\nFROM \\\n  b\n", Some("b")),
            ("FROM $B", None),
            ("FROM scratch", None),
            ("", None),
        ] {
            assert_eq!(base_of(text).as_deref(), base, "{text}");
        }
    }
}
