//! Paths inside a prefix, checked once where they enter.

use std::fmt;

use serde::Serialize;

/// Longest path accepted, in bytes: `PATH_MAX` less room for the prefix.
const MAX_PATH_BYTES: usize = 3072;
/// Longest component accepted, in bytes: `NAME_MAX`.
const MAX_COMPONENT_BYTES: usize = 255;

/// A path relative to a prefix that can't leave it by its own text: no root, no `..`, no `.`, no
/// empty or overlong component, no control character.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PrefixPath(String);

/// Says why a text is no safe path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Nothing is left of it.
    #[error("the path is empty")]
    Empty,
    /// It starts at a root.
    #[error("the path is absolute")]
    Absolute,
    /// It has a `..` component.
    #[error("the path climbs with '..'")]
    Climbs,
    /// It has a `.` or empty component.
    #[error("the path is not in its shortest form")]
    NotNormal,
    /// It has a control character.
    #[error("the path has a control character")]
    Control,
    /// It has a backslash where a wheel may not have one.
    #[error("the path has a backslash")]
    Backslash,
    /// It or a component is longer than a file system takes.
    #[error("the path is too long")]
    TooLong,
    /// Its bytes are not UTF-8.
    #[error("the path is not UTF-8")]
    NotUtf8,
}

impl PrefixPath {
    /// Accepts a path in its shortest form.
    pub fn new(text: &str) -> Result<Self, PathError> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        if text.split('/').any(|c| c == "..") {
            return Err(PathError::Climbs);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        if text.split('/').any(|c| c.is_empty() || c == ".") {
            return Err(PathError::NotNormal);
        }
        if text.len() > MAX_PATH_BYTES || text.split('/').any(|c| c.len() > MAX_COMPONENT_BYTES) {
            return Err(PathError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// Accepts what tar writers make of a path: `./` and doubled or trailing slashes are dropped.
    pub(crate) fn from_archive(text: &str) -> Result<Self, PathError> {
        if text.starts_with('/') {
            return Err(PathError::Absolute);
        }
        let parts: Vec<&str> = text
            .split('/')
            .filter(|c| !matches!(*c, "" | "."))
            .collect();
        Self::new(&parts.join("/"))
    }

    /// The path below this one.
    pub fn join(&self, below: &str) -> Result<Self, PathError> {
        Self::new(&format!("{}/{below}", self.0))
    }

    /// The text, with `/` between components.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directory it stands in; `None` directly in the prefix.
    pub fn parent(&self) -> Option<&str> {
        self.0.rsplit_once('/').map(|(parent, _)| parent)
    }

    /// The last component.
    pub fn file_name(&self) -> &str {
        self.0
            .rsplit_once('/')
            .map_or(self.0.as_str(), |(_, name)| name)
    }

    /// Whether a symlink here with this target stays inside the prefix, by text alone. A sink that
    /// writes through directories has to check what they really are.
    pub fn link_stays_inside(&self, target: &str) -> bool {
        if target.is_empty() || target.starts_with('/') || target.chars().any(char::is_control) {
            return false;
        }
        let mut depth = self.0.matches('/').count();
        for component in target.split('/') {
            match component {
                "" | "." => {}
                ".." => match depth.checked_sub(1) {
                    Some(less) => depth = less,
                    None => return false,
                },
                _ => depth += 1,
            }
        }
        true
    }

    /// Whether an installation keeps its own records here: no package may bring one.
    pub(crate) fn is_record(&self) -> bool {
        self.0
            .strip_prefix("conda-meta/")
            .is_some_and(|name| name == "history" || name.strip_suffix(".json").is_some())
    }

    /// This path as seen from a directory of the same prefix, as `os.path.relpath` writes it.
    pub(crate) fn relative_to(&self, directory: &Self) -> String {
        let from: Vec<&str> = directory.0.split('/').collect();
        let to: Vec<&str> = self.0.split('/').collect();
        let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        let mut parts = vec![".."; from.len() - shared];
        parts.extend(&to[shared..]);
        parts.join("/")
    }

    /// Resolves a relative path with `..` against a directory of the prefix; `None` outside it.
    pub(crate) fn resolve(directory: &Self, relative: &str) -> Option<Self> {
        let mut parts: Vec<&str> = directory.0.split('/').collect();
        for component in relative.split('/') {
            match component {
                "" | "." => {}
                ".." => {
                    parts.pop()?;
                }
                other => parts.push(other),
            }
        }
        Self::new(&parts.join("/")).ok()
    }
}

impl fmt::Display for PrefixPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", PathError::Empty)]
    #[case("/etc/passwd", PathError::Absolute)]
    #[case("a/../../b", PathError::Climbs)]
    #[case("..", PathError::Climbs)]
    #[case("a//b", PathError::NotNormal)]
    #[case("./a", PathError::NotNormal)]
    #[case("a/", PathError::NotNormal)]
    #[case("a\nb", PathError::Control)]
    #[case("a\0b", PathError::Control)]
    #[case(&"x".repeat(256), PathError::TooLong)]
    #[case(&"x/".repeat(2000).trim_end_matches('/').to_owned(), PathError::TooLong)]
    fn an_unsafe_path_is_refused(#[case] text: &str, #[case] why: PathError) {
        assert_eq!(PrefixPath::new(text), Err(why));
    }

    #[test]
    fn what_tar_writers_add_is_dropped_and_climbing_is_not() {
        let path = PrefixPath::from_archive("./lib//a/").expect("it stays inside");
        assert_eq!(path.as_str(), "lib/a");
        assert_eq!(PrefixPath::from_archive("./../x"), Err(PathError::Climbs));
        assert_eq!(PrefixPath::from_archive("//x"), Err(PathError::Absolute));
    }

    #[rstest]
    #[case("lib/libz.so", "libz.so.1", true)]
    #[case("lib64", "lib", true)]
    #[case("bin/x", "../lib/x", true)]
    #[case("bin/x", "../../etc/passwd", false)]
    #[case("x", "..", false)]
    #[case("x", "/etc/passwd", false)]
    #[case("x", "", false)]
    #[case("a/b/x", "c/../../../..", false)]
    fn a_link_stays_inside_or_is_refused(
        #[case] path: &str,
        #[case] target: &str,
        #[case] inside: bool,
    ) {
        let path = PrefixPath::new(path).expect("the path is safe");
        assert_eq!(path.link_stays_inside(target), inside);
    }

    #[test]
    fn relative_paths_are_written_as_pip_writes_them_and_resolve_back() {
        let lib = PrefixPath::new("lib/python3.11/site-packages").expect("safe");
        for (path, relative) in [
            ("bin/flask", "../../../bin/flask"),
            ("lib/python3.11/site-packages/a/b.py", "a/b.py"),
            ("lib/x", "../../x"),
        ] {
            let path = PrefixPath::new(path).expect("safe");
            assert_eq!(path.relative_to(&lib), relative);
            assert_eq!(PrefixPath::resolve(&lib, relative), Some(path));
        }
        assert_eq!(PrefixPath::resolve(&lib, "../../../../etc"), None);
    }
}
