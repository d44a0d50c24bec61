//! Environment markers (PEP 508) in one text.
//!
//! Equality is structural: operands of `and` and `or` sort and are unique, a literal stands on the right,
//! old spellings of variables become the new ones, versions take their normal form. Nothing is
//! evaluated, so the text never grows and never depends on a library's algebra.

use std::str::FromStr as _;

use pep440_rs::Version;

use crate::error::quoted;
use crate::requirement::{normal_name, without_trailing_zeros};

/// Parentheses nested deeper than this are refused.
const DEPTH_LIMIT: usize = 32;

/// The variables of PEP 508 and the spellings they had before.
const VARIABLES: [(&str, &str); 18] = [
    ("python_version", "python_version"),
    ("python_full_version", "python_full_version"),
    ("os_name", "os_name"),
    ("os.name", "os_name"),
    ("sys_platform", "sys_platform"),
    ("sys.platform", "sys_platform"),
    ("platform_machine", "platform_machine"),
    ("platform.machine", "platform_machine"),
    ("platform_release", "platform_release"),
    ("platform_system", "platform_system"),
    ("platform_version", "platform_version"),
    ("platform.version", "platform_version"),
    (
        "platform_python_implementation",
        "platform_python_implementation",
    ),
    (
        "platform.python_implementation",
        "platform_python_implementation",
    ),
    ("python_implementation", "platform_python_implementation"),
    ("implementation_name", "implementation_name"),
    ("implementation_version", "implementation_version"),
    ("extra", "extra"),
];

/// Operators of a comparison, longest first, and what they are with the sides swapped.
const OPERATORS: [(&str, Option<&str>); 8] = [
    ("===", Some("===")),
    ("==", Some("==")),
    ("!=", Some("!=")),
    ("<=", Some(">=")),
    (">=", Some("<=")),
    ("~=", None),
    ("<", Some(">")),
    (">", Some("<")),
];

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Marker {
    Compare(String),
    And(Vec<Self>),
    Or(Vec<Self>),
}

/// The canonical text of a marker, or why it is none.
pub(crate) fn canonical(text: &str) -> Result<String, String> {
    let mut parser = Parser {
        rest: text.trim(),
        depth: 0,
    };
    let marker = parser.or()?;
    if !parser.rest.is_empty() {
        return Err(format!("{} stands behind the marker", quoted(parser.rest)));
    }
    Ok(render(&marker, false))
}

fn render(marker: &Marker, inside_and: bool) -> String {
    match marker {
        Marker::Compare(text) => text.clone(),
        Marker::And(parts) => parts
            .iter()
            .map(|part| render(part, true))
            .collect::<Vec<_>>()
            .join(" and "),
        Marker::Or(parts) => {
            let text = parts
                .iter()
                .map(|part| render(part, false))
                .collect::<Vec<_>>()
                .join(" or ");
            if inside_and {
                format!("({text})")
            } else {
                text
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: usize,
}

enum Operand<'a> {
    Variable(&'static str),
    Literal(&'a str),
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Marker, String> {
        let mut parts = Vec::new();
        loop {
            match self.and()? {
                Marker::Or(inner) => parts.extend(inner),
                other => parts.push(other),
            }
            if !self.word("or") {
                return Ok(joined(parts, Marker::Or));
            }
        }
    }

    fn and(&mut self) -> Result<Marker, String> {
        let mut parts = Vec::new();
        loop {
            match self.expression()? {
                Marker::And(inner) => parts.extend(inner),
                other => parts.push(other),
            }
            if !self.word("and") {
                return Ok(joined(parts, Marker::And));
            }
        }
    }

    fn expression(&mut self) -> Result<Marker, String> {
        if let Some(rest) = self.rest.strip_prefix('(') {
            self.depth += 1;
            if self.depth > DEPTH_LIMIT {
                return Err("the marker is nested too deep".into());
            }
            self.rest = rest.trim_start();
            let inner = self.or()?;
            self.depth -= 1;
            let rest = self
                .rest
                .strip_prefix(')')
                .ok_or("a parenthesis of the marker has no end")?;
            self.rest = rest.trim_start();
            return Ok(inner);
        }
        let left = self.operand()?;
        let operator = self.operator()?;
        let right = self.operand()?;
        compare(left, operator, right).map(Marker::Compare)
    }

    /// Takes a word that stands alone.
    fn word(&mut self, word: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(word) else {
            return false;
        };
        if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
            return false;
        }
        self.rest = rest.trim_start();
        true
    }

    fn operand(&mut self) -> Result<Operand<'a>, String> {
        for quote in ['\'', '"'] {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                let (literal, rest) = rest
                    .split_once(quote)
                    .ok_or("a quote of the marker has no end")?;
                self.rest = rest.trim_start();
                return Ok(Operand::Literal(literal));
            }
        }
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.'))
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        let known = VARIABLES.iter().find(|(spelling, _)| *spelling == name);
        let Some((_, name)) = known else {
            return Err(match name {
                "" => format!(
                    "the marker lacks a variable or a text before {}",
                    quoted(self.rest)
                ),
                name => format!("{} is no variable of a marker", quoted(name)),
            });
        };
        self.rest = rest.trim_start();
        Ok(Operand::Variable(name))
    }

    fn operator(&mut self) -> Result<&'static str, String> {
        for (operator, _) in OPERATORS {
            if let Some(rest) = self.rest.strip_prefix(operator) {
                self.rest = rest.trim_start();
                return Ok(operator);
            }
        }
        if self.word("in") {
            return Ok("in");
        }
        if self.word("not") && self.word("in") {
            return Ok("not in");
        }
        Err(format!(
            "the marker lacks an operator before {}",
            quoted(self.rest)
        ))
    }
}

/// Sorts, drops equal parts and joins.
fn joined(mut parts: Vec<Marker>, join: fn(Vec<Marker>) -> Marker) -> Marker {
    parts.sort();
    parts.dedup();
    if parts.len() == 1 {
        parts.remove(0)
    } else {
        join(parts)
    }
}

fn compare(
    left: Operand<'_>,
    operator: &'static str,
    right: Operand<'_>,
) -> Result<String, String> {
    match (left, right) {
        (Operand::Variable(name), Operand::Literal(literal)) => Ok(format!(
            "{name} {operator} {}",
            literal_text(name, operator, literal)?
        )),
        (Operand::Literal(literal), Operand::Variable(name)) => {
            let swapped = OPERATORS.iter().find(|(known, _)| *known == operator);
            match swapped {
                // `'x' in name` has no other order.
                None => Ok(format!(
                    "{} {operator} {name}",
                    literal_text("", operator, literal)?
                )),
                Some((_, Some(operator))) => Ok(format!(
                    "{name} {operator} {}",
                    literal_text(name, operator, literal)?
                )),
                Some((_, None)) => Err(format!("`{operator}` needs its version on the right")),
            }
        }
        _ => Err("a marker compares a variable with a text".into()),
    }
}

/// The literal in quotes; versions and extras in their normal form.
fn literal_text(name: &str, operator: &str, literal: &str) -> Result<String, String> {
    let versions = [
        "python_version",
        "python_full_version",
        "implementation_version",
    ];
    let literal = if versions.contains(&name) {
        version_text(operator, literal)
    } else if name == "extra" && ["==", "!="].contains(&operator) {
        normal_name(literal).ok_or_else(|| format!("{} is no extra", quoted(literal)))?
    } else {
        literal.to_owned()
    };
    let quote = if literal.contains('\'') { '"' } else { '\'' };
    Ok(format!("{quote}{literal}{quote}"))
}

fn version_text(operator: &str, literal: &str) -> String {
    let literal = literal.trim();
    if let ("==" | "!=", Some(stem)) = (operator, literal.strip_suffix(".*")) {
        return Version::from_str(stem)
            .map_or_else(|_| literal.into(), |version| format!("{version}.*"));
    }
    match (operator, Version::from_str(literal)) {
        ("==" | "!=" | "<" | "<=" | ">" | ">=", Ok(version)) => {
            without_trailing_zeros(&version).to_string()
        }
        ("~=", Ok(version)) => version.to_string(),
        _ => literal.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("python_version<'3.8'", "python_version < '3.8'")]
    #[case("'3.8' > python_version", "python_version < '3.8'")]
    #[case("python_version >= \"3.10.0\"", "python_version >= '3.10'")]
    #[case("python_version == '3.8.*'", "python_version == '3.8.*'")]
    #[case("python_version in '3.8 3.9'", "python_version in '3.8 3.9'")]
    #[case("python_version not  in '3.8'", "python_version not in '3.8'")]
    #[case("'linux' in sys_platform", "'linux' in sys_platform")]
    #[case("os.name == \"nt\"", "os_name == 'nt'")]
    #[case(
        "python_implementation=='CPython'",
        "platform_python_implementation == 'CPython'"
    )]
    #[case("extra == 'Foo_Bar'", "extra == 'foo-bar'")]
    #[case("os_name=='b' or (os_name=='a')", "os_name == 'a' or os_name == 'b'")]
    #[case(
        "(os_name=='b' or os_name=='a') and extra=='x'",
        "extra == 'x' and (os_name == 'a' or os_name == 'b')"
    )]
    #[case("os_name=='a' and os_name=='a'", "os_name == 'a'")]
    #[case("platform_version == \"it's\"", "platform_version == \"it's\"")]
    fn spellings_have_one_text(#[case] text: &str, #[case] expected: &str) {
        assert_eq!(canonical(text).unwrap(), expected);
        assert_eq!(canonical(expected).unwrap(), expected);
    }

    #[rstest]
    #[case("")]
    #[case("python_version")]
    #[case("python_version >=")]
    #[case("python_version > 3.8")]
    #[case("python_version >= '3.8' and")]
    #[case("(os_name == 'a'")]
    #[case("os_name == 'a')")]
    #[case("os_name == 'a")]
    #[case("'a' == 'a'")]
    #[case("os_name == sys_platform")]
    #[case("nope == 'a'")]
    #[case("os_name ='a'")]
    fn what_is_no_marker_is_refused(#[case] text: &str) {
        assert!(canonical(text).is_err(), "{text}");
    }

    #[test]
    fn hostile_markers_are_read_in_linear_time_and_never_overflow() {
        assert!(canonical(&"(".repeat(100_000)).is_err());
        let clause = |n: usize| format!("(os_name == 'a{n}' or os_name == 'b{n}')");
        let text = (0..2000).map(clause).collect::<Vec<_>>().join(" and ");
        assert_eq!(canonical(&text).unwrap().len(), text.len());
    }
}
