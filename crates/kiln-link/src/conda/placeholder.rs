//! Replaces the prefix a package was built in by the prefix it is linked for.
//!
//! conda looks for the placeholder in five encodings, one after another. In a text every occurrence
//! is replaced, and a first line that then is too long for the kernel goes through `env`. In a
//! binary each C string keeps its length: what follows the placeholder moves up and NULs fill the
//! end.

use std::ops::Range;

use memchr::memmem;

use super::FileMode;
use crate::error::Problem;

/// Longest first line that Linux executes.
const MAX_SHEBANG_BYTES: usize = 127;

#[derive(Clone, Copy)]
enum Encoding {
    Utf8,
    Utf16 { big: bool },
    Utf32 { big: bool },
}

const ENCODINGS: [Encoding; 5] = [
    Encoding::Utf8,
    Encoding::Utf16 { big: false },
    Encoding::Utf16 { big: true },
    Encoding::Utf32 { big: false },
    Encoding::Utf32 { big: true },
];

impl Encoding {
    fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Utf16 { big } => text
                .encode_utf16()
                .flat_map(|unit| {
                    if big {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect(),
            Self::Utf32 { big } => text
                .chars()
                .map(u32::from)
                .flat_map(|unit| {
                    if big {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect(),
        }
    }
}

/// The content with the placeholder replaced, and whether anything changed.
pub(crate) fn replace(
    mut data: Vec<u8>,
    mode: FileMode,
    placeholder: &str,
    prefix: &str,
) -> Result<(Vec<u8>, bool), Problem> {
    if placeholder.is_empty() {
        return Err(Problem::Metadata(
            "a prefix placeholder is empty".to_owned(),
        ));
    }
    let mut changed = false;
    for encoding in ENCODINGS {
        let search = encoding.encode(placeholder);
        let replacement = encoding.encode(prefix);
        match mode {
            FileMode::Text => {
                if let Some(replaced) = replace_all(&data, &search, &replacement) {
                    data = replaced;
                    changed = true;
                }
            }
            FileMode::Binary => {
                let zeros = encoding.encode("\0").len();
                changed |= replace_in_strings(&mut data, &search, &replacement, zeros)?;
            }
        }
    }
    if mode == FileMode::Text
        && let Some(shortened) = shorten_shebang(&data)
    {
        data = shortened;
        changed = true;
    }
    Ok((data, changed))
}

fn replace_all(data: &[u8], search: &[u8], replacement: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut from = 0;
    for at in memmem::find_iter(data, search) {
        out.extend_from_slice(&data[from..at]);
        out.extend_from_slice(replacement);
        from = at + search.len();
    }
    if from == 0 {
        return None;
    }
    out.extend_from_slice(&data[from..]);
    Some(out)
}

/// Replaces inside each string that holds the placeholder and ends with a NUL character; the data
/// keeps its length. A string without an end is left alone.
fn replace_in_strings(
    data: &mut [u8],
    search: &[u8],
    replacement: &[u8],
    zeros: usize,
) -> Result<bool, Problem> {
    let finder = memmem::Finder::new(search);
    let nul = vec![0; zeros];
    let mut from = 0;
    let mut changed = false;
    while let Some(start) = finder.find(&data[from..]).map(|at| from + at) {
        let after = start + search.len();
        let Some(end) = memmem::find(&data[after..], &nul).map(|at| after + at + zeros) else {
            break;
        };
        if replacement.len() > search.len() {
            return Err(Problem::PrefixTooLong {
                prefix: replacement.len(),
                room: search.len(),
            });
        }
        rewrite_string(data, start..end, &finder, search.len(), replacement);
        changed = true;
        from = end;
    }
    Ok(changed)
}

fn rewrite_string(
    data: &mut [u8],
    string: Range<usize>,
    finder: &memmem::Finder<'_>,
    search_bytes: usize,
    replacement: &[u8],
) {
    let mut read = string.start;
    let mut write = string.start;
    while let Some(at) = finder.find(&data[read..string.end]).map(|at| read + at) {
        data.copy_within(read..at, write);
        write += at - read;
        data[write..write + replacement.len()].copy_from_slice(replacement);
        write += replacement.len();
        read = at + search_bytes;
    }
    data.copy_within(read..string.end, write);
    write += string.end - read;
    data[write..string.end].fill(0);
}

/// A first line of more than 127 bytes, or whose interpreter's directory has an escaped space,
/// becomes `#!/usr/bin/env NAME`. conda replaces that line wherever it stands in the text again.
fn shorten_shebang(data: &[u8]) -> Option<Vec<u8>> {
    let line = data.split(|b| *b == b'\n').next().unwrap_or_default();
    let after_mark = line.strip_prefix(b"#!")?;
    let blanks = after_mark.iter().take_while(|b| **b == b' ').count();
    let rest = &after_mark[blanks..];
    if rest.first() != Some(&b'/') {
        return None;
    }
    let length = executable_length(rest);
    let (executable, options) = rest.split_at(length);
    let executable = std::str::from_utf8(executable).ok()?;
    let (directory, name) = executable.rsplit_once('/')?;
    if line.len() <= MAX_SHEBANG_BYTES && !directory.contains("\\ ") {
        return None;
    }
    let mut short = format!("#!/usr/bin/env {name}").into_bytes();
    short.extend_from_slice(options);
    replace_all(data, line, &short)
}

/// The executable reaches to the first blank that is not escaped by a backslash.
fn executable_length(bytes: &[u8]) -> usize {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if bytes.get(at + 1) == Some(&b' ') => at += 2,
            b' ' | b'\r' | b'\t' => break,
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PREFIX: &str = "/opt/kiln/env";

    fn placeholder() -> String {
        format!("/build/{}", "_placehold".repeat(25))[..255].to_owned()
    }

    fn text(data: &[u8], placeholder: &str, prefix: &str) -> Vec<u8> {
        replace(data.to_vec(), FileMode::Text, placeholder, prefix)
            .expect("texts never fail")
            .0
    }

    #[test]
    fn a_c_string_keeps_its_length_and_what_follows_moves_up() {
        let placeholder = placeholder();
        let data = format!("head\0{placeholder}/lib:{placeholder}/bin\0tail{placeholder}");
        let (out, changed) = replace(
            data.clone().into_bytes(),
            FileMode::Binary,
            &placeholder,
            PREFIX,
        )
        .expect("the prefix is short");
        assert!(changed);
        assert_eq!(out.len(), data.len());
        let kept = format!("head\0{PREFIX}/lib:{PREFIX}/bin\0");
        assert!(out.starts_with(kept.as_bytes()));
        let tail = format!("\0tail{placeholder}");
        assert!(
            out.ends_with(tail.as_bytes()),
            "a string without an end is left alone"
        );
        assert!(
            out[kept.len()..out.len() - tail.len()]
                .iter()
                .all(|b| *b == 0)
        );
    }

    #[test]
    fn wide_strings_are_found_too() {
        for encoding in ENCODINGS {
            let data = [
                encoding.encode("x"),
                encoding.encode(&(placeholder() + "/a\0")),
                vec![7],
            ];
            let data = data.concat();
            let (out, changed) =
                replace(data.clone(), FileMode::Binary, &placeholder(), PREFIX).expect("short");
            assert!(changed);
            assert_eq!(out.len(), data.len());
            assert!(memmem::find(&out, &encoding.encode(&format!("x{PREFIX}/a\0"))).is_some());
        }
    }

    #[test]
    fn a_prefix_that_does_not_fit_is_refused_only_where_it_is_needed() {
        let binary = |data: &[u8]| replace(data.to_vec(), FileMode::Binary, "/tiny", PREFIX);
        assert!(matches!(
            binary(b"/tiny/x\0"),
            Err(Problem::PrefixTooLong {
                prefix: 13,
                room: 5
            })
        ));
        assert!(!binary(b"nothing\0").expect("there is nothing to replace").1);
    }

    #[test]
    fn only_a_first_line_that_is_too_long_goes_through_env() {
        let long = format!("/{}", "d".repeat(120));
        assert_eq!(
            text(b"#!/ph/bin/python -E\nx", "/ph", PREFIX),
            b"#!/opt/kiln/env/bin/python -E\nx"
        );
        assert_eq!(
            text(b"#!/ph/bin/python -E\nx", "/ph", &long),
            b"#!/usr/bin/env python -E\nx"
        );
        let escaped = b"#! /my\\ dir/bin/perl\nprint\n";
        assert_eq!(
            text(escaped, "/ph", PREFIX),
            b"#!/usr/bin/env perl\nprint\n"
        );
        let data = format!("#!relative{}\n", "x".repeat(200));
        assert_eq!(text(data.as_bytes(), "/ph", PREFIX), data.as_bytes());
    }

    #[test]
    fn the_longest_first_line_that_works_stays() {
        let line = |length: usize| format!("#!/{}", "x".repeat(length - 3));
        assert_eq!(
            text(line(127).as_bytes(), "/ph", PREFIX),
            line(127).as_bytes()
        );
        assert_eq!(
            text(line(128).as_bytes(), "/ph", PREFIX),
            format!("#!/usr/bin/env {}", "x".repeat(125)).as_bytes()
        );
    }

    /// conda's rule, told byte by byte: from each placeholder to the first NUL.
    fn slow_binary(data: &[u8], search: &[u8], replacement: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = 0;
        while at < data.len() {
            let end = data[at..].iter().position(|b| *b == 0).map(|n| at + n + 1);
            if let (true, Some(end)) = (data[at..].starts_with(search), end) {
                let string = &data[at..end];
                let mut moved = Vec::new();
                let mut i = 0;
                while i < string.len() {
                    if string[i..].starts_with(search) {
                        moved.extend_from_slice(replacement);
                        i += search.len();
                    } else {
                        moved.push(string[i]);
                        i += 1;
                    }
                }
                moved.resize(string.len(), 0);
                out.extend(moved);
                at = end;
            } else {
                out.push(data[at]);
                at += 1;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_binary_keeps_its_length_and_equals_the_slow_rule(
            parts in prop::collection::vec(prop_oneof![
                Just(b"/placehold".to_vec()),
                Just(b"/placehol".to_vec()),
                Just(vec![0]),
                prop::collection::vec(1u8..255, 0..6),
            ], 0..40),
            prefix in "/[a-z]{0,9}",
        ) {
            let data = parts.concat();
            let (out, _) = replace(data.clone(), FileMode::Binary, "/placehold", &prefix)
                .expect("the prefix fits");
            prop_assert_eq!(out.len(), data.len());
            prop_assert_eq!(out, slow_binary(&data, b"/placehold", prefix.as_bytes()));
        }

        #[test]
        fn a_text_has_no_placeholder_left_and_nothing_else_changed(
            parts in prop::collection::vec("[a-z \n]{0,8}", 1..20),
        ) {
            let out = text(parts.join("/placehold").as_bytes(), "/placehold", PREFIX);
            prop_assert_eq!(String::from_utf8(out).expect("still text"), parts.join(PREFIX));
        }
    }
}
