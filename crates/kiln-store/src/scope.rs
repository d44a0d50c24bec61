//! Workspaces as the first part of every key.

use std::fmt;
use std::str::FromStr;

/// A workspace's name: what names and private inputs belong to.
///
/// Letters, digits, `.`, `_`, `-`, `(`, `)`, and `/` between such parts; an Azure ML workspace is
/// `subscription/resource group/name`. At most 300 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(String);

/// A text that names no workspace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a workspace's name has letters, digits, `.`, `_`, `-`, `(`, `)` and `/` between them, at most 300 bytes"
)]
pub struct ParseScopeError;

impl Scope {
    /// The workspace that exists from the start.
    pub fn default_scope() -> Self {
        Self("default".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Scope {
    type Err = ParseScopeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let part = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-()".contains(c))
        };
        if text.len() <= 300 && text.split('/').all(part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseScopeError)
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_empty_parts_are_no_workspaces() {
        for text in [
            "",
            "/",
            "a//b",
            "../x",
            "a/..",
            "a b",
            "a\n",
            &"x".repeat(301),
        ] {
            assert!(text.parse::<Scope>().is_err(), "{text}");
        }
        assert_eq!(
            "sub/rg/ws-1".parse::<Scope>().unwrap().as_str(),
            "sub/rg/ws-1"
        );
        assert!("sub/rg_(test)/ws".parse::<Scope>().is_ok());
    }
}
