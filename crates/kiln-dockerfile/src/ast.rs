//! The Dockerfile as a tree, and its text.

use std::fmt::Write as _;

use crate::base::{FromReference, UserName};
use crate::quote::{EnvName, EnvValue};

/// A Dockerfile of kiln's making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dockerfile {
    pub(crate) instructions: Vec<Instruction>,
}

/// An instruction; there is none that takes an unchecked text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instruction {
    /// A comment of one line.
    Comment(String),
    /// `FROM reference [AS stage]`.
    From {
        /// The image.
        image: FromReference,
        /// The stage's name.
        stage: Option<&'static str>,
    },
    /// `USER name`.
    User(UserName),
    /// `COPY ["source","destination"]` from the context.
    Copy {
        /// The path inside the context.
        source: String,
        /// The absolute path inside the image.
        destination: String,
    },
    /// `RUN --mount=... ["program","argument"]`.
    Run {
        /// What is mounted for this step alone.
        mounts: Vec<Mount>,
        /// The program and its arguments.
        command: Vec<String>,
    },
    /// `ENV NAME="value"`.
    Env {
        /// The name.
        name: EnvName,
        /// The value.
        value: EnvValue,
    },
    /// `CMD ["program","argument"]`.
    Cmd(Vec<String>),
    /// `LABEL name="value"` with a constant name and a value of hex digits, `/` and `_`.
    Label {
        /// The name.
        name: &'static str,
        /// The value.
        value: String,
    },
}

/// What a step sees and the image doesn't keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mount {
    /// A folder of the context, read-only.
    Context {
        /// The path inside the context.
        source: &'static str,
        /// The absolute path inside the container.
        target: &'static str,
    },
    /// A folder of an image that the engine has, read-only.
    Image {
        /// The image's reference.
        image: String,
        /// The absolute path inside the image.
        source: String,
        /// The absolute path inside the container.
        target: &'static str,
    },
    /// A file of another stage, read-only.
    Stage {
        /// The stage's name.
        from: &'static str,
        /// The absolute path inside the stage.
        source: &'static str,
        /// The absolute path inside the container.
        target: &'static str,
    },
    /// A secret of the build, as a file.
    Secret {
        /// The secret's id.
        id: &'static str,
        /// The absolute path inside the container.
        target: &'static str,
    },
    /// An empty folder in memory.
    Memory {
        /// The absolute path inside the container.
        target: &'static str,
    },
}

impl Dockerfile {
    /// The instructions in order.
    pub fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// The file's text. It has no parser directive, so that every BuildKit reads it without another
    /// frontend, and one line for each instruction.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for instruction in &self.instructions {
            text.push_str(&instruction.to_text());
            text.push('\n');
        }
        text
    }
}

impl Instruction {
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Comment(comment) => format!("# {comment}"),
            Self::From { image, stage: None } => format!("FROM {image}"),
            Self::From {
                image,
                stage: Some(stage),
            } => format!("FROM {image} AS {stage}"),
            Self::User(user) => format!("USER {user}"),
            Self::Copy {
                source,
                destination,
            } => format!("COPY {}", exec(&[source, destination])),
            Self::Run { mounts, command } => {
                let mut text = String::from("RUN ");
                for mount in mounts {
                    let _ = write!(text, "--mount={} ", mount.to_text());
                }
                text.push_str(&exec(command));
                text
            }
            Self::Env { name, value } => format!("ENV {}={}", name.as_str(), value.quoted()),
            Self::Cmd(command) => format!("CMD {}", exec(command)),
            Self::Label { name, value } => format!("LABEL {name}=\"{value}\""),
        }
    }

    /// What the instruction is about, for people.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::Env { name, .. } => format!("environment variable {}", name.as_str()),
            Self::Run { .. } => "a step's command".to_owned(),
            _ => "the Dockerfile".to_owned(),
        }
    }
}

impl Mount {
    fn to_text(&self) -> String {
        match self {
            Self::Context { source, target } => {
                format!("type=bind,source={source},target={target}")
            }
            Self::Image {
                image,
                source,
                target,
            } => {
                format!("type=bind,from={image},source={source},target={target}")
            }
            Self::Stage {
                from,
                source,
                target,
            } => {
                format!("type=bind,from={from},source={source},target={target}")
            }
            Self::Secret { id, target } => format!("type=secret,id={id},target={target}"),
            Self::Memory { target } => format!("type=tmpfs,target={target}"),
        }
    }
}

/// A JSON array of texts; JSON escapes every character that could end the line.
fn exec<T: serde::Serialize>(words: &[T]) -> String {
    serde_json::to_string(words).expect("texts are JSON")
}
