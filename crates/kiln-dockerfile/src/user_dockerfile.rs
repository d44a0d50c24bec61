//! A user's own Dockerfile: built unedited as an image of its own, or refused.

use kiln_oci::Digest;
use kiln_spec::{Base, SpecHash};

use crate::base::user_image_name;
use crate::error::PlanError;

/// Azure ML's limit on a base Dockerfile, in bytes.
const LIMIT: usize = 100 * 1024;

/// A stored build context, and the Dockerfile in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserContext {
    /// The Dockerfile's text.
    pub dockerfile: String,
    /// Its path in the context.
    pub dockerfile_path: String,
    /// The context's files, a tar.
    pub tar: Digest,
}

/// A user's Dockerfile that must be built before kiln's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserDockerfile {
    /// The text, as the user wrote it.
    pub text: String,
    /// The local name its image must get.
    pub image: String,
    /// The files beside it; without them the context is empty.
    pub context: Option<UserContext>,
}

/// Says why a user's Dockerfile is not built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserDockerfileError {
    /// More than 100 KiB.
    #[error(
        "the base Dockerfile has {0} bytes, and 102,400 are the limit; move what it writes into a file"
    )]
    TooLong(usize),
    /// A `# syntax=` directive.
    #[error(
        "line {line} of the base Dockerfile asks for another frontend (`syntax`), which would be fetched and run; \
         remove the line"
    )]
    Syntax {
        /// The line, from 1.
        line: usize,
    },
    /// An `# escape=` directive that no builder takes, or a second one.
    #[error(
        "line {line} of the base Dockerfile has an `escape` directive that is not one of `\\` and a \
         backtick, or stands twice; remove the line"
    )]
    Escape {
        /// The line, from 1.
        line: usize,
    },
    /// A character that text files do not have.
    #[error("line {line} of the base Dockerfile holds a NUL character; remove it")]
    Nul {
        /// The line, from 1.
        line: usize,
    },
    /// There is no `FROM`.
    #[error("the base Dockerfile has no FROM instruction; begin it with `FROM image:tag`")]
    NoFrom,
}

impl UserDockerfile {
    /// The user's Dockerfile of a base; `None` where the base is an image.
    ///
    /// # Errors
    /// When it can't be built as it is, or the base is a build context that is not stored.
    pub fn of(
        base: &Base,
        context: Option<&UserContext>,
        spec_hash: &SpecHash,
    ) -> Result<Option<Self>, PlanError> {
        let text = match (base, context) {
            (Base::Default(_) | Base::Image(_), _) => return Ok(None),
            (Base::Dockerfile(text), _) => text,
            (Base::Context { .. }, Some(context)) => &context.dockerfile,
            (Base::Git { .. }, _) => {
                return Err(PlanError::Unsupported {
                    what: "a build context in a git repository",
                    remedy: "clone it, and upload the folder with `kiln env import NAME --context DIR`",
                });
            }
            (Base::Context { .. }, None) => {
                return Err(PlanError::Unsupported {
                    what: "a build context at an address",
                    remedy: "upload its folder with `kiln env import NAME --context DIR`",
                });
            }
        };
        check(text)?;
        Ok(Some(Self {
            text: text.clone(),
            image: user_image_name(spec_hash),
            context: context.cloned(),
        }))
    }
}

fn check(text: &str) -> Result<(), UserDockerfileError> {
    if text.len() > LIMIT {
        return Err(UserDockerfileError::TooLong(text.len()));
    }
    if let Some(line) = text.lines().position(|line| line.contains('\0')) {
        return Err(UserDockerfileError::Nul { line: line + 1 });
    }
    check_directives(text)?;
    let is_from = |line: &str| {
        line.split_whitespace()
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("from"))
    };
    if text.lines().any(is_from) {
        Ok(())
    } else {
        Err(UserDockerfileError::NoFrom)
    }
}

/// Looks for directives wherever any BuildKit might: at the head, in comments of `#` or `//` or behind a
/// `#!` line, and as a JSON text.
fn check_directives(text: &str) -> Result<(), UserDockerfileError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut escaped = false;
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let line = line.trim();
        let comment = line.strip_prefix('#').or_else(|| line.strip_prefix("//"));
        let Some(comment) = comment else {
            if index == 0 && line.starts_with('{') {
                return Err(UserDockerfileError::Syntax { line: line_number });
            }
            if line.is_empty() {
                continue;
            }
            break;
        };
        let Some((key, value)) = comment.split_once('=') else {
            continue;
        };
        match key.trim().to_ascii_lowercase().as_str() {
            "syntax" => return Err(UserDockerfileError::Syntax { line: line_number }),
            "escape" if escaped || !matches!(value.trim(), "\\" | "`") => {
                return Err(UserDockerfileError::Escape { line: line_number });
            }
            "escape" => escaped = true,
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("FROM debian:12\nRUN echo '# syntax=x'\n")]
    #[case("# my image\nfrom debian\n")]
    #[case("# escape=`\nFROM debian\n")]
    #[case("FROM debian\n# syntax=docker/dockerfile:1\n")]
    fn what_any_buildkit_reads_is_taken(#[case] text: &str) {
        assert_eq!(check(text), Ok(()));
    }

    #[rstest]
    #[case("# syntax=docker/dockerfile:1\nFROM a", UserDockerfileError::Syntax { line: 1 })]
    #[case("#SYNTAX = x\nFROM a", UserDockerfileError::Syntax { line: 1 })]
    #[case("\u{feff}# syntax=x\nFROM a", UserDockerfileError::Syntax { line: 1 })]
    #[case("#!/bin/x\n# syntax=x\nFROM a", UserDockerfileError::Syntax { line: 2 })]
    #[case("// syntax=x\nFROM a", UserDockerfileError::Syntax { line: 1 })]
    #[case("\n  # comment\n# syntax=x\nFROM a", UserDockerfileError::Syntax { line: 3 })]
    #[case("{\"syntax\": \"x\"}\nFROM a", UserDockerfileError::Syntax { line: 1 })]
    #[case("# escape=^\nFROM a", UserDockerfileError::Escape { line: 1 })]
    #[case("# escape=`\n# escape=`\nFROM a", UserDockerfileError::Escape { line: 2 })]
    #[case("FROM a\nRUN \0", UserDockerfileError::Nul { line: 2 })]
    #[case("RUN id", UserDockerfileError::NoFrom)]
    fn the_rest_is_refused_with_its_line(#[case] text: &str, #[case] error: UserDockerfileError) {
        assert_eq!(check(text), Err(error));
    }

    #[test]
    fn more_than_a_hundred_kibibytes_are_refused() {
        let text = format!("FROM a\n#{}", "x".repeat(LIMIT));
        assert_eq!(check(&text), Err(UserDockerfileError::TooLong(LIMIT + 8)));
    }
}
