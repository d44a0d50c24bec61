//! conda-build's platform selectors in comments, `numpy  # [linux64]`.
//!
//! conda reads such a line as if the comment were not there; other tools leave it out on other platforms.
//! One file with two meanings has no one identity, so kiln refuses it.

/// Words that a selector holds; a comment in brackets with any other word is a comment.
const WORDS: [&str; 26] = [
    "linux",
    "linux32",
    "linux64",
    "osx",
    "osx64",
    "win",
    "win32",
    "win64",
    "unix",
    "arm64",
    "aarch64",
    "ppc64le",
    "s390x",
    "x86",
    "x86_64",
    "armv6l",
    "armv7l",
    "emscripten",
    "wasi",
    "py",
    "py2k",
    "py3k",
    "np",
    "not",
    "and",
    "or",
];

/// The selector in the comment of a line.
pub(crate) fn of(line: &str) -> Option<&str> {
    let start = line.find(" #").or_else(|| line.find("\t#"))?;
    let comment = line[start + 2..].trim_start_matches(['#', ' ', '\t']);
    let (inner, _) = comment.strip_prefix('[')?.split_once(']')?;
    let mut words = inner
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .peekable();
    words.peek()?;
    let known = |word: &str| {
        let lower = word.to_ascii_lowercase();
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        WORDS.contains(&lower.as_str())
            || number(word)
            || lower.strip_prefix("py").is_some_and(number)
    };
    let selects = inner.chars().any(|c| c.is_ascii_alphabetic());
    (selects && words.all(known)).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn selectors_are_told_from_other_comments() {
        assert_eq!(of("- numpy  # [linux64]"), Some("linux64"));
        assert_eq!(
            of("- numpy # [not win and py>=38]"),
            Some("not win and py>=38")
        );
        assert_eq!(of("- gcc  #[ppc64le]"), Some("ppc64le"));
        for comment in [
            "- x  # [see the docs]",
            "- x  # a [linux]",
            "- x  # [1]",
            "- x#[linux]",
            "# [linux]",
            "- x",
        ] {
            assert_eq!(of(comment), None, "{comment}");
        }
    }
}
