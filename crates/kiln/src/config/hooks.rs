//! `hooks`: who may send messages, and where events may go.

use std::path::PathBuf;

use kiln_engine::OnBaseChange;
use kiln_events::SigningSecret;
use kiln_server::{Networks, Source, SourceKind};
use serde::Deserialize;

/// `hooks` of the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileHooks {
    allow_private: Option<bool>,
    sources: Vec<FileSource>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSource {
    name: String,
    #[serde(default)]
    kind: FileKind,
    #[serde(default)]
    workspace: Option<String>,
    #[serde(default)]
    secret_files: Vec<PathBuf>,
    #[serde(default)]
    on_push: FilePolicy,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileKind {
    #[default]
    Build,
    Registry,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FilePolicy {
    #[default]
    Mark,
    Refresh,
}

/// Webhooks.
#[derive(Debug, Clone)]
pub(crate) struct Hooks {
    /// Who may send messages.
    pub(crate) sources: Vec<Source>,
    /// Where events may be posted to.
    pub(crate) networks: Networks,
}

impl FileHooks {
    /// Reads the secrets and checks the rest; `guarded` is whether tokens are configured.
    pub(super) fn checked(self, guarded: bool, faults: &mut Vec<String>) -> Hooks {
        let sources = self.sources.into_iter();
        let sources = sources.map(|source| source.checked(faults)).collect();
        Hooks {
            sources,
            networks: if self.allow_private.unwrap_or(!guarded) {
                Networks::Private
            } else {
                Networks::Public
            },
        }
    }
}

impl FileSource {
    fn checked(self, faults: &mut Vec<String>) -> Source {
        let name = self.name;
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let mut fault = |text: String| faults.push(format!("hooks.sources, `{name}`: {text}"));
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            fault("a name is 1 to 64 letters, digits, `.`, `_` and `-`".into());
        }
        let mut secrets = Vec::new();
        for path in &self.secret_files {
            match fs_err::read_to_string(path) {
                Ok(text) => match SigningSecret::parse(text.trim()) {
                    Ok(secret) => secrets.push(secret),
                    Err(error) => fault(format!("{}: {error}", path.display())),
                },
                Err(error) => fault(error.to_string()),
            }
        }
        Source {
            kind: match self.kind {
                FileKind::Build => SourceKind::Build,
                FileKind::Registry => SourceKind::Registry(match self.on_push {
                    FilePolicy::Mark => OnBaseChange::Mark,
                    FilePolicy::Refresh => OnBaseChange::Refresh,
                }),
            },
            workspace: self.workspace.unwrap_or_else(|| "default".into()),
            secrets,
            name,
        }
    }
}
