//! Why there is no plan.

use crate::UserDockerfileError;

/// Says why no Dockerfile is generated, and what would help.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A variable's name would be read as something else.
    #[error(
        "environment variable name {name:?} can't stand in an image; use letters, digits, `_`, `.` and \
         `-`, and begin with a letter or `_`"
    )]
    EnvName {
        /// The name.
        name: String,
    },
    /// A variable's value has a character that no `ENV` instruction can carry.
    #[error(
        "the value of environment variable {name} holds {}; {}", .character.escape_debug(),
        env_remedy(*.character)
    )]
    EnvValue {
        /// The variable's name.
        name: String,
        /// The character.
        character: char,
    },
    /// BuildKit reads lines of less than 64 KiB.
    #[error(
        "{what} needs an instruction of {bytes} bytes, and a line of a Dockerfile ends at 65,535; \
         keep the text in a file of the image or fetch it when the container starts"
    )]
    LineTooLong {
        /// What stands in the instruction.
        what: String,
        /// How long it would be.
        bytes: usize,
    },
    /// A base without digest may be another image tomorrow.
    #[error("base image {reference} has no digest; resolve its tag first")]
    BaseNotPinned {
        /// The reference.
        reference: String,
    },
    /// The lock was made for another base.
    #[error("the lock was made for base {locked}, not for {given}")]
    OtherBase {
        /// The digest in the lock.
        locked: String,
        /// The digest that was given.
        given: String,
    },
    /// The base's `User` can't be restored.
    #[error(
        "the base image runs as user {user:?}, which is no user or group name; set `USER` in the base to \
         a name or number"
    )]
    BaseUser {
        /// The user.
        user: String,
    },
    /// A package's part is outside what installers agree upon.
    #[error("the {part} of package {package} is {value:?}, which no installer reads safely")]
    Package {
        /// The package's name.
        package: String,
        /// The field.
        part: &'static str,
        /// The field's value, cut.
        value: String,
    },
    /// An address has credentials, which never stand in a Dockerfile or its files.
    #[error("the address of package {package} holds credentials; the lock must not have them")]
    Credentials {
        /// The package's name.
        package: String,
    },
    /// The plain tools can't install this lock.
    #[error("{what} without kiln's installer; {remedy}")]
    PlainTools {
        /// What is not possible.
        what: &'static str,
        /// What would help.
        remedy: &'static str,
    },
    /// The definition asks for something kiln does not build.
    #[error("{what} is not built by kiln; {remedy}")]
    Unsupported {
        /// The section or field.
        what: &'static str,
        /// What would help.
        remedy: &'static str,
    },
    /// A step needs a shell.
    #[error("the base image has no /bin/sh, which {what} needs; take another base image")]
    NoShell {
        /// The step.
        what: &'static str,
    },
    /// The user's Dockerfile can't be built as it is.
    #[error(transparent)]
    UserDockerfile(#[from] UserDockerfileError),
}

impl PlanError {
    /// Whether kiln itself is at fault, and no change of the environment would help.
    pub fn is_internal(&self) -> bool {
        matches!(
            self,
            Self::BaseNotPinned { .. } | Self::OtherBase { .. } | Self::Credentials { .. }
        )
    }
}

fn env_remedy(character: char) -> &'static str {
    match character {
        '\n' | '\r' => {
            "an image's variables have one line: write the text with `\\n` and expand it in the \
             program, or keep it in a file of the image"
        }
        _ => "remove it, or encode the value (as base64, say) and decode it in the program",
    }
}
