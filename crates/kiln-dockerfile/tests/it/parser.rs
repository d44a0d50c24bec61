//! A strict Dockerfile reader after BuildKit's rules (`frontend/dockerfile/parser` and `shell`), which
//! shares no code with the writer.

use std::collections::BTreeMap;

/// An instruction's keyword and the rest of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub keyword: String,
    pub rest: String,
}

/// Splits a text into instructions: lines end at `\n`, comments go, a `\` at the end continues.
pub(crate) fn lines(text: &str) -> Vec<Line> {
    let mut found = Vec::new();
    let mut pending = String::new();
    for line in text.split('\n') {
        assert!(line.len() <= 65_535, "a line is too long for the scanner");
        let line = line.trim_end_matches('\r');
        let start = line.trim_start();
        if start.starts_with('#') || (start.is_empty() && pending.is_empty()) {
            continue;
        }
        let trimmed = line.trim_end_matches([' ', '\t']);
        if let Some(continued) = trimmed.strip_suffix('\\') {
            pending.push_str(continued);
            continue;
        }
        pending.push_str(if pending.is_empty() { start } else { line });
        found.push(split(&std::mem::take(&mut pending)));
    }
    assert!(pending.is_empty(), "the last line continues");
    found
}

fn split(line: &str) -> Line {
    let space = |c: char| matches!(c, ' ' | '\t' | '\u{b}' | '\u{c}' | '\r');
    let (keyword, rest) = line.split_once(space).unwrap_or((line, ""));
    Line {
        keyword: keyword.to_uppercase(),
        rest: rest.trim().to_owned(),
    }
}

/// Splits the rest of an `ENV` or `LABEL` into words, quotes and backslashes left in.
fn words(rest: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                continue;
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => {
                word.push(c);
                word.extend(chars.next());
                continue;
            }
            _ => {}
        }
        word.push(c);
    }
    assert_eq!(quote, None, "a quote stays open");
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// Reads `NAME=value` pairs and expands both as BuildKit's shell lexer does.
pub(crate) fn pairs(rest: &str, env: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let words = words(rest);
    assert!(
        words.first().is_some_and(|word| word.contains('=')),
        "the old form without `=`"
    );
    words
        .iter()
        .map(|word| {
            let (name, value) = word.split_once('=').expect("a word of this form has one");
            (expand(name, env), expand(value, env))
        })
        .collect()
}

/// Quotes, backslashes, `$NAME`, `${NAME}`, `${NAME:-word}`, `${NAME:+word}`.
fn expand(word: &str, env: &BTreeMap<String, String>) -> String {
    let chars: Vec<char> = word.chars().collect();
    let (mut at, mut out, mut double) = (0, String::new(), false);
    while at < chars.len() {
        match chars[at] {
            '"' => double = !double,
            '\'' if !double => {
                at += 1;
                while chars[at] != '\'' {
                    out.push(chars[at]);
                    at += 1;
                }
            }
            '\\' => {
                at += 1;
                let next = chars.get(at).copied().expect("a backslash is never last");
                if double && !matches!(next, '"' | '$' | '\\') {
                    out.push('\\');
                }
                out.push(next);
            }
            '$' => {
                let (value, end) = variable(&chars, at + 1, env);
                out.push_str(&value);
                at = end;
                continue;
            }
            c => out.push(c),
        }
        at += 1;
    }
    assert!(!double, "a quote stays open");
    out
}

fn variable(chars: &[char], at: usize, env: &BTreeMap<String, String>) -> (String, usize) {
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    if chars.get(at) != Some(&'{') {
        let name: String = chars[at..].iter().copied().take_while(is_name).collect();
        assert!(!name.is_empty(), "`$` alone: builders read it differently");
        let value = env.get(&name).cloned().unwrap_or_default();
        return (value, at + name.len());
    }
    let length = chars[at..]
        .iter()
        .position(|c| *c == '}')
        .expect("the brace is closed");
    let inner: String = chars[at + 1..at + length].iter().collect();
    let end = at + length + 1;
    let (name, modifier) = inner
        .split_once(':')
        .map_or((inner.as_str(), None), |(n, m)| (n, Some(m)));
    let value = env.get(name).cloned().filter(|value| !value.is_empty());
    let value = match modifier.map(|m| m.split_at(1)) {
        None => value.unwrap_or_default(),
        Some(("-", word)) => value.unwrap_or_else(|| expand(word, env)),
        Some(("+", word)) => value.map(|_| expand(word, env)).unwrap_or_default(),
        Some(other) => panic!("unknown modifier {other:?}"),
    };
    (value, end)
}

/// The variables of the image that a Dockerfile of one stage makes from a base with `env`.
pub(crate) fn image_env(text: &str, base: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut env = base.clone();
    for line in lines(text).iter().filter(|line| line.keyword == "ENV") {
        for (name, value) in pairs(&line.rest, &env.clone()) {
            env.insert(name, value);
        }
    }
    env
}
