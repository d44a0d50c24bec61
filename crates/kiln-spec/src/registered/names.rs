//! Names, versions and labels of registered environments.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The label that always is the newest version.
pub const LATEST: &str = "latest";

/// A longer name is refused by the service.
const NAME_LIMIT: usize = 255;
/// A longer version or label is refused.
const WORD_LIMIT: usize = 128;
/// Beginnings that the service keeps for its curated environments.
const CURATED: [&str; 2] = ["AzureML", "Microsoft"];

/// A text that is no name, version or label.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self {
            what,
            text: text.chars().take(80).flat_map(char::escape_debug).collect(),
            rule,
        }
    }

    /// What makes a text one.
    pub fn rule(&self) -> &'static str {
        self.rule
    }
}

/// An environment's name: 1 to 255 letters, digits, `_`, `-`, `.`, `/`, `+`, `(`, `)` and spaces between
/// them. Letter case counts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentName(String);

/// A version: a text of letters, digits, `_`, `-`, `.` and `+`, at most 128; automatic ones are numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EnvironmentVersion(String);

/// A label that somebody sets: as a version, but not `latest`, which always is the newest version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

macro_rules! text {
    ($name:ident) => {
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.0
            }
        }
    };
}

text!(EnvironmentName);
text!(EnvironmentVersion);
text!(Label);

impl EnvironmentName {
    /// Whether it begins as those of curated environments do: no user registers such a name.
    pub fn is_curated(&self) -> bool {
        CURATED.iter().any(|start| {
            let head = self.0.get(..start.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(start))
        })
    }
}

impl FromStr for EnvironmentName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_alphanumeric() || "_-./+() ".contains(c);
        let ends = |c: Option<char>| c.is_some_and(|c| c != ' ' && c != '/');
        let valid = (1..=NAME_LIMIT).contains(&text.chars().count())
            && text.chars().all(allowed)
            && ends(text.chars().next())
            && ends(text.chars().next_back());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            let rule = "it has 1 to 255 letters, digits, `_`, `-`, `.`, `/`, `+`, `(`, `)` and spaces, \
                        and neither begins nor ends with a space or `/`";
            Err(NameError::new("name of an environment", text, rule))
        }
    }
}

fn is_word(text: &str) -> bool {
    (1..=WORD_LIMIT).contains(&text.len())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.+".contains(c))
}

impl FromStr for EnvironmentVersion {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_word(text) && text != LATEST {
            return Ok(Self(text.to_owned()));
        }
        let rule = "it has 1 to 128 letters, digits, `_`, `-`, `.` and `+`, and is not `latest`";
        Err(NameError::new("version", text, rule))
    }
}

impl FromStr for Label {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if is_word(text) && text != LATEST {
            return Ok(Self(text.to_owned()));
        }
        let rule = "it has 1 to 128 letters, digits, `_`, `-`, `.` and `+`; `latest` sets itself";
        Err(NameError::new("label", text, rule))
    }
}

impl EnvironmentVersion {
    /// The number it is, as automatic versions are: without leading zeros.
    pub fn number(&self) -> Option<u64> {
        let digits = self.0.bytes().all(|byte| byte.is_ascii_digit());
        let plain = digits && !self.0.starts_with('0') && self.0.len() <= 18;
        plain.then(|| self.0.parse().ok()).flatten()
    }
}

/// The next automatic version: the highest number there is and one more.
pub fn next_version<'a>(
    existing: impl IntoIterator<Item = &'a EnvironmentVersion>,
) -> EnvironmentVersion {
    let numbers = existing.into_iter().filter_map(EnvironmentVersion::number);
    EnvironmentVersion((numbers.max().unwrap_or(0) + 1).to_string())
}

/// Which version of an environment is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Which {
    /// The newest that is not archived.
    #[default]
    Latest,
    /// This one.
    Version(EnvironmentVersion),
    /// The one that has the label.
    Label(Label),
}

/// `NAME`, `NAME:VERSION` or `NAME@LABEL`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EnvironmentReference {
    /// The name.
    pub name: EnvironmentName,
    /// Which version.
    pub which: Which,
}

impl FromStr for EnvironmentReference {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let text = text.strip_prefix("azureml:").unwrap_or(text);
        let (name, which) = if let Some((name, label)) = text.split_once('@') {
            let label = (label != LATEST).then(|| label.parse()).transpose()?;
            (name, label.map_or(Which::Latest, Which::Label))
        } else if let Some((name, version)) = text.split_once(':') {
            let version = (version != LATEST).then(|| version.parse()).transpose()?;
            (name, version.map_or(Which::Latest, Which::Version))
        } else {
            (text, Which::Latest)
        };
        Ok(Self {
            name: name.parse()?,
            which,
        })
    }
}

impl fmt::Display for EnvironmentReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Latest => self.name.fmt(f),
            Which::Version(version) => write!(f, "{}:{version}", self.name),
            Which::Label(label) => write!(f, "{}@{label}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("myenv", true)]
    #[case("a b/c", true)]
    #[case("ünï (1)+x_y-z.2", true)]
    #[case("", false)]
    #[case(" a", false)]
    #[case("a/", false)]
    #[case("a:b", false)]
    #[case("a@b", false)]
    #[case("a\nb", false)]
    #[case("a?b", false)]
    fn names_have_letters_digits_and_a_few_signs(#[case] text: &str, #[case] valid: bool) {
        assert_eq!(text.parse::<EnvironmentName>().is_ok(), valid, "{text}");
    }

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!("é".repeat(255).parse::<EnvironmentName>().is_ok());
        assert!("e".repeat(256).parse::<EnvironmentName>().is_err());
        assert!("1".repeat(128).parse::<EnvironmentVersion>().is_ok());
        assert!("1".repeat(129).parse::<EnvironmentVersion>().is_err());
    }

    #[test]
    fn curated_names_are_known_in_any_letter_case() {
        for (name, curated) in [
            ("AzureML-Minimal", true),
            ("azureml", true),
            ("MICROSOFT/x", true),
            ("my-AzureML", false),
            ("Azure", false),
        ] {
            let name: EnvironmentName = name.parse().unwrap();
            assert_eq!(name.is_curated(), curated, "{name}");
        }
    }

    #[test]
    fn the_next_version_follows_the_highest_number() {
        let next = |versions: &[&str]| {
            let versions: Vec<EnvironmentVersion> =
                versions.iter().map(|text| text.parse().unwrap()).collect();
            next_version(&versions).to_string()
        };
        assert_eq!(next(&[]), "1");
        assert_eq!(next(&["1", "2", "10", "9"]), "11");
        assert_eq!(next(&["2026.1", "v3", "007"]), "1");
        assert_eq!(next(&["99999999999999999999999", "4"]), "5");
    }

    #[test]
    fn references_name_a_version_or_a_label() {
        let read = |text: &str| text.parse::<EnvironmentReference>();
        assert_eq!(read("myenv").unwrap().which, Which::Latest);
        assert_eq!(read("myenv:latest").unwrap().which, Which::Latest);
        assert_eq!(read("myenv@latest").unwrap().which, Which::Latest);
        for text in ["myenv:3", "a b/c@stable"] {
            assert_eq!(read(text).unwrap().to_string(), text);
        }
        assert_eq!(read("azureml:myenv:3").unwrap().to_string(), "myenv:3");
        for text in ["", ":1", "a:", "a@", "a:b c", "a:1:2"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!("latest".parse::<EnvironmentVersion>().is_err());
        assert!("latest".parse::<Label>().is_err());
    }
}
