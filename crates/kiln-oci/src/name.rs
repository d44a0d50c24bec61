//! Repository names and tags, as in the OCI distribution specification, "Pulling manifests".

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest repository name, in characters.
const NAME_LIMIT: usize = 255;
/// The longest tag, in characters.
const TAG_LIMIT: usize = 128;

/// A repository's name inside its registry, for example `library/debian`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(String);

/// A tag, for example `bookworm-slim`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

/// Says why a text is no repository name or no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseNameError {
    /// Nothing, or nothing between two slashes.
    #[error("repository name has an empty part")]
    EmptyPart,
    /// Upper-case letters.
    #[error("repository name `{0}` must be lower case")]
    Uppercase(String),
    /// Anything else outside the grammar.
    #[error(
        "repository name part `{0}` may hold only a-z and 0-9, joined by `.`, `_`, `__` or `-`"
    )]
    Part(String),
    /// More than 255 characters.
    #[error("repository name is longer than {NAME_LIMIT} characters")]
    TooLong,
    /// 64 hex digits alone, which Docker takes for an image id.
    #[error("repository name of 64 hex digits alone would be taken for an image id")]
    ImageId,
    /// Outside the grammar of tags.
    #[error(
        "tag `{0}` may hold only letters, digits, `_`, `.` and `-`, must not start with `.` or `-`, and has 1 to {TAG_LIMIT} characters"
    )]
    Tag(String),
}

/// Cuts a text for an error and makes control characters visible.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(128)
        .flat_map(char::escape_debug)
        .collect()
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`, one part of a repository name.
fn is_part(part: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(*first) || !alphanumeric(*last) {
        return false;
    }
    part.split(|c: char| c.is_ascii() && alphanumeric(c as u8))
        .filter(|separator| !separator.is_empty())
        .all(|separator| {
            matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

impl RepositoryName {
    /// The name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Joins two names with a slash: `prefix/name`.
    pub fn join(&self, name: &Self) -> Result<Self, ParseNameError> {
        format!("{self}/{name}").parse()
    }
}

impl FromStr for RepositoryName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > NAME_LIMIT {
            return Err(ParseNameError::TooLong);
        }
        for part in text.split('/') {
            if part.is_empty() {
                return Err(ParseNameError::EmptyPart);
            }
            if !is_part(part) {
                return Err(if is_part(&part.to_ascii_lowercase()) {
                    ParseNameError::Uppercase(shown(text))
                } else {
                    ParseNameError::Part(shown(part))
                });
            }
        }
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(ParseNameError::ImageId);
        }
        Ok(Self(text.to_owned()))
    }
}

impl Tag {
    /// The tag's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `latest`, which stands for a reference without tag and digest.
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }
}

impl FromStr for Tag {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = text.len() <= TAG_LIMIT
            && text.bytes().next().is_some_and(word)
            && text.bytes().all(|b| word(b) || b == b'.' || b == b'-');
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNameError::Tag(shown(text)))
        }
    }
}

macro_rules! text_form {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_form!(RepositoryName);
text_form!(Tag);

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("debian")]
    #[case("library/debian")]
    #[case("a/b/c/d")]
    #[case("a.b_c__d-e---f/0")]
    #[case("azureml/azureml_0123456789abcdef0123456789abcdef")]
    fn names_inside_the_grammar_are_taken(#[case] text: &str) {
        assert_eq!(
            text.parse::<RepositoryName>().map(|n| n.to_string()),
            Ok(text.to_owned())
        );
    }

    #[rstest]
    #[case("")]
    #[case("/")]
    #[case("a//b")]
    #[case("a/")]
    #[case("-a")]
    #[case("a-")]
    #[case("a..b")]
    #[case("a___b")]
    #[case("a._b")]
    #[case("a b")]
    #[case("a\nb")]
    #[case("Ab")]
    #[case("ä")]
    #[case("../x")]
    #[case("--platform=x")]
    #[case("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
    fn names_outside_the_grammar_are_refused(#[case] text: &str) {
        assert!(text.parse::<RepositoryName>().is_err());
    }

    #[test]
    fn a_name_of_256_characters_is_too_long() {
        assert!("a".repeat(255).parse::<RepositoryName>().is_ok());
        assert_eq!(
            "a".repeat(256).parse::<RepositoryName>(),
            Err(ParseNameError::TooLong)
        );
    }

    #[rstest]
    #[case("latest", true)]
    #[case("_x", true)]
    #[case("1.0-A", true)]
    #[case("", false)]
    #[case(".x", false)]
    #[case("-x", false)]
    #[case("a/b", false)]
    #[case("a b", false)]
    #[case("a\n", false)]
    fn tags_follow_their_grammar(#[case] text: &str, #[case] good: bool) {
        assert_eq!(text.parse::<Tag>().is_ok(), good);
        assert!("a".repeat(128).parse::<Tag>().is_ok());
        assert!("a".repeat(129).parse::<Tag>().is_err());
    }
}
