//! The logical lines of a requirements file, as pip cuts them (`pip._internal.req.req_file`).

/// A line without comment and continuation, and where it begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: usize,
    pub(crate) text: String,
}

/// Joins lines that end with `\`, then drops comments and empty lines.
pub(crate) fn logical(text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut pending: Option<Line> = None;
    for (index, raw) in text.lines().enumerate() {
        let raw = raw.strip_suffix('\r').unwrap_or(raw);
        let comment = raw.trim_start().starts_with('#');
        let continues = raw.ends_with('\\') && !comment;
        let part = if continues {
            &raw[..raw.len() - 1]
        } else {
            raw
        };
        let line = pending.get_or_insert_with(|| Line {
            number: index + 1,
            text: String::new(),
        });
        if comment && !line.text.is_empty() {
            // A comment ends a continued line; the space makes it one.
            line.text.push(' ');
        }
        line.text.push_str(part);
        if !continues {
            lines.extend(pending.take());
        }
    }
    lines.extend(pending);
    for line in &mut lines {
        let end = comment_start(&line.text);
        line.text.truncate(end);
        line.text = line.text.trim().to_owned();
    }
    lines.retain(|line| !line.text.is_empty());
    lines
}

/// A comment begins with `#` at the start or after white space.
fn comment_start(text: &str) -> usize {
    let mut previous_is_space = true;
    for (at, c) in text.char_indices() {
        if c == '#' && previous_is_space {
            return at;
        }
        previous_is_space = c.is_whitespace();
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn continuations_join_and_comments_go() {
        let text = "a==1 \\\n  --hash=sha256:00 # why\n# whole\n\nb @ https://h/x#egg=b\nc\\\n# end\nd\r\n";
        let lines = logical(text);
        let seen: Vec<(usize, &str)> = lines.iter().map(|l| (l.number, l.text.as_str())).collect();
        assert_eq!(
            seen,
            [
                (1, "a==1   --hash=sha256:00"),
                (5, "b @ https://h/x#egg=b"),
                (6, "c"),
                (8, "d")
            ]
        );
    }
}
