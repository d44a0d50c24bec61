//! Names of models, and the paths of their files: they stand in addresses, archives and folders.

use std::fmt;
use std::str::FromStr;

/// The longest path of a file in bytes.
const PATH_LIMIT: usize = 1024;

/// A text that is no name of a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has letters, digits, `_`, `-` and `.`, begins with a letter or digit, and has at most 255 characters"
)]
pub struct ParseModelNameError;

/// The name of a model: ASCII letters, digits, `_`, `-`, `.`, the first a letter or digit; at most 255
/// characters, as Azure ML has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelName(String);

impl ModelName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ModelName {
    type Err = ParseModelNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let first = text.chars().next();
        let good = first.is_some_and(|c| c.is_ascii_alphanumeric())
            && text.len() <= 255
            && text.chars().all(allowed);
        good.then(|| Self(text.to_owned()))
            .ok_or(ParseModelNameError)
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no path of a file below a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseFilePathError {
    /// It is empty, absolute, or has an empty part, `.` or `..`.
    #[error("it does not stay below its folder")]
    Outside,
    /// It has a backslash or a control character.
    #[error("it has a backslash or a control character")]
    Character,
    /// It is too long.
    #[error("it has more than {PATH_LIMIT} bytes")]
    TooLong,
}

/// The path of a file below a folder: parts with `/` between them, none of them empty, `.` or `..`; no
/// backslash, no control character; at most 1,024 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(String);

impl FilePath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its first part.
    pub fn first(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// Its parts.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }
}

impl FromStr for FilePath {
    type Err = ParseFilePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > PATH_LIMIT {
            return Err(ParseFilePathError::TooLong);
        }
        if text.chars().any(|c| c == '\\' || c.is_control()) {
            return Err(ParseFilePathError::Character);
        }
        if text.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(ParseFilePathError::Outside);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_those_of_azure_ml() {
        for good in ["local-model", "m", "1.0", "a_B-c.d"] {
            assert_eq!(good.parse::<ModelName>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "-m", "a/b", "a b", "a:1", "mdir%2Fa.bin", "ä"] {
            assert!(bad.parse::<ModelName>().is_err(), "{bad}");
        }
        assert!("a".repeat(256).parse::<ModelName>().is_err());
    }

    #[test]
    fn paths_stay_below_their_folder() {
        for good in ["a", "a/b.bin", "ä b/c", "..a/b..", "a:1"] {
            assert_eq!(good.parse::<FilePath>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", ParseFilePathError::Outside),
            ("/etc/passwd", ParseFilePathError::Outside),
            ("a/../b", ParseFilePathError::Outside),
            ("a//b", ParseFilePathError::Outside),
            ("a/.", ParseFilePathError::Outside),
            ("a\\b", ParseFilePathError::Character),
            ("a\nb", ParseFilePathError::Character),
            ("a\0", ParseFilePathError::Character),
        ] {
            assert_eq!(bad.parse::<FilePath>(), Err(why), "{bad:?}");
        }
        let long = "a".repeat(1025).parse::<FilePath>();
        assert_eq!(long, Err(ParseFilePathError::TooLong));
    }

    proptest! {
        #[test]
        fn no_path_leaves_its_folder(text in "[a./\\\\]{0,12}") {
            if let Ok(path) = text.parse::<FilePath>() {
                let joined = std::path::Path::new("/folder").join(path.as_str());
                prop_assert!(joined.starts_with("/folder"));
                let normal = |c| matches!(c, std::path::Component::Normal(_) | std::path::Component::RootDir);
                prop_assert!(joined.components().all(normal));
            }
        }
    }
}
