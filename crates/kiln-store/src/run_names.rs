//! Names of experiments and ids of runs: they stand in paths, addresses and file names.

use std::fmt;
use std::str::FromStr;

/// A text that is no name of an experiment and no id of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has letters, digits, `_`, `-` and `.`, begins with a letter or digit, and has at most 255 characters"
)]
pub struct ParseRunNameError;

fn check(text: &str) -> Result<String, ParseRunNameError> {
    let first = text.chars().next();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if first.is_some_and(|first| first.is_ascii_alphanumeric())
        && text.len() <= 255
        && text.chars().all(allowed)
    {
        Ok(text.to_owned())
    } else {
        Err(ParseRunNameError)
    }
}

macro_rules! name {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        ///
        /// ASCII letters, digits, `_`, `-`, `.`, the first a letter or digit; at most 255 characters.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseRunNameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                check(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(ExperimentName, "The name of an experiment.");
name!(RunId, "The id of a run, one in its workspace.");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_stand_in_a_path_as_they_are() {
        for text in ["my-experiment", "exp_1795417997_3715f3e0", "a", "1.0"] {
            assert_eq!(text.parse::<RunId>().unwrap().as_str(), text);
        }
        let long = "a".repeat(256);
        for text in ["", ".", "..", "-x", "_x", "a/b", "a b", "a\0", "ä", &long] {
            assert_eq!(text.parse::<RunId>(), Err(ParseRunNameError), "{text:?}");
            assert_eq!(text.parse::<ExperimentName>(), Err(ParseRunNameError));
        }
    }
}
