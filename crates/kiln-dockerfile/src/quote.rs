//! `ENV` instructions: the one place where a user's text becomes part of an instruction.

use std::fmt::Write as _;

use crate::PlanError;

/// The name of an environment variable: a letter or `_`, then letters, digits, `_`, `.` and `-`.
///
/// BuildKit expands quotes, backslashes and `$` in names too, so that no other character is let in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvName(String);

impl EnvName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, PlanError> {
        let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let rest = name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if start && rest && name.len() <= 255 {
            return Ok(Self(name.to_owned()));
        }
        Err(PlanError::EnvName {
            name: name.chars().take(80).collect(),
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of an `ENV` instruction, part by part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvValue(Vec<Part>);

/// A part of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// A text that means itself.
    Literal(String),
    /// `:` and the variable's value so far, or nothing where it has none.
    AfterColon(&'static str),
    /// The variable's value so far, or a constant where it has none.
    OrElse(&'static str, &'static str),
}

impl EnvValue {
    /// A text that means itself; CR, LF, NUL and other control characters but the tab are refused.
    pub fn literal(name: &EnvName, value: &str) -> Result<Self, PlanError> {
        match value.chars().find(|c| c.is_control() && *c != '\t') {
            Some(character) => Err(PlanError::EnvValue {
                name: name.0.clone(),
                character,
            }),
            None => Ok(Self(vec![Part::Literal(value.to_owned())])),
        }
    }

    /// A constant of kiln's own and, behind it, other parts.
    pub(crate) fn constant(value: impl Into<String>) -> Self {
        Self(vec![Part::Literal(value.into())])
    }

    #[must_use]
    pub(crate) fn then(mut self, part: Part) -> Self {
        self.0.push(part);
        self
    }

    /// The parts.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The value in double quotes, as BuildKit's shell lexer reads it: `\`, `"` and `$` are escaped
    /// and nothing else is special.
    pub(crate) fn quoted(&self) -> String {
        let mut text = String::from("\"");
        for part in &self.0 {
            match part {
                Part::Literal(value) => quote_into(&mut text, value),
                Part::AfterColon(name) => {
                    let _ = write!(text, "${{{name}:+:${name}}}");
                }
                Part::OrElse(name, default) => {
                    let _ = write!(text, "${{{name}:-{default}}}");
                }
            }
        }
        text.push('"');
        text
    }
}

fn quote_into(text: &mut String, value: &str) {
    for c in value.chars() {
        if matches!(c, '\\' | '"' | '$') {
            text.push('\\');
        }
        text.push(c);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn literal(value: &str) -> Result<EnvValue, PlanError> {
        EnvValue::literal(&EnvName::new("NAME").expect("a name"), value)
    }

    #[rstest]
    #[case("", r#""""#)]
    #[case("a b", r#""a b""#)]
    #[case(r"C:\dir\", r#""C:\\dir\\""#)]
    #[case(r#"say "hi""#, r#""say \"hi\"""#)]
    #[case("${HOME} $(id) `id`", r#""\${HOME} \$(id) `id`""#)]
    #[case("'single'", r#""'single'""#)]
    #[case("\t", "\"\t\"")]
    #[case("# escape=`", "\"# escape=`\"")]
    fn values_are_quoted(#[case] value: &str, #[case] quoted: &str) {
        assert_eq!(literal(value).expect("it is allowed").quoted(), quoted);
    }

    #[rstest]
    #[case("a\nRUN id", r"holds \n; an image's variables have one line")]
    #[case("a\r", r"holds \r; an image's variables have one line")]
    #[case("a\0b", r"holds \0; remove it")]
    #[case("\u{1b}[31m", r"holds \u{1b}; remove it")]
    #[case("\u{85}", r"holds \u{85}; remove it")]
    fn control_characters_are_refused_with_the_remedy(#[case] value: &str, #[case] message: &str) {
        let error = literal(value).expect_err("it is refused").to_string();
        assert!(error.contains(message), "{error}");
        assert!(error.contains("variable NAME "), "{error}");
    }

    #[rstest]
    #[case("A")]
    #[case("_a.b-c9")]
    fn names_are_taken(#[case] name: &str) {
        assert_eq!(EnvName::new(name).expect("a name").as_str(), name);
    }

    #[rstest]
    #[case("")]
    #[case("9A")]
    #[case("-A")]
    #[case("A=B")]
    #[case("A B")]
    #[case("A\nB")]
    #[case("$A")]
    #[case("A\"")]
    #[case("Ä")]
    fn other_names_are_refused(#[case] name: &str) {
        assert!(matches!(EnvName::new(name), Err(PlanError::EnvName { .. })));
    }
}
