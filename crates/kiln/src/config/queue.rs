//! `queue`: NATS JetStream as a source of requests.

use std::path::{Path, PathBuf};

use kiln_queue::{Access, QueueSettings, Tls};
use kiln_spec::Secret;
use serde::Deserialize;

/// `queue` of the file; without it there is no queue.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FileQueue {
    servers: Option<Vec<String>>,
    stream: Option<String>,
    subject: Option<String>,
    consumer: Option<String>,
    reply_prefix: Option<String>,
    token_file: Option<PathBuf>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    credentials_file: Option<PathBuf>,
    tls_required: bool,
    ca: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
    max_deliver: Option<u8>,
}

impl FileQueue {
    /// The queue's settings, with defaults for what is not set.
    pub(super) fn checked(self, faults: &mut Vec<String>) -> QueueSettings {
        let defaults = QueueSettings::default();
        let access = self.access(faults);
        let identity = match (self.client_certificate, self.client_key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                faults.push("queue: client_certificate and client_key need each other".into());
                None
            }
        };
        let settings = QueueSettings {
            servers: self.servers.unwrap_or(defaults.servers),
            access,
            tls: Tls {
                required: self.tls_required,
                ca: self.ca,
                identity,
            },
            stream: self.stream.unwrap_or(defaults.stream),
            subject: self.subject.unwrap_or(defaults.subject),
            consumer: self.consumer.unwrap_or(defaults.consumer),
            reply_prefix: self.reply_prefix.or(defaults.reply_prefix),
            max_deliver: self.max_deliver.unwrap_or(defaults.max_deliver),
            ..defaults
        };
        if let Err(error) = settings.check() {
            faults.push(error.to_string());
        }
        settings
    }

    fn access(&self, faults: &mut Vec<String>) -> Access {
        let mut read = |path: &Path| match fs_err::read_to_string(path) {
            Ok(text) => Some(Secret::new(text.trim())),
            Err(error) => {
                faults.push(format!("queue: {error}"));
                None
            }
        };
        let token = self.token_file.as_deref().and_then(&mut read);
        let password = self.password_file.as_deref().and_then(&mut read);
        match (token, &self.user, password, &self.credentials_file) {
            (None, None, None, None) => Access::None,
            (Some(token), None, None, None) => Access::Token(token),
            (None, Some(user), Some(password), None) => Access::Password {
                user: user.clone(),
                password,
            },
            (None, None, None, Some(path)) => Access::CredentialsFile(path.clone()),
            _ => {
                faults.push(
                    "queue: give one of token_file, user with password_file, credentials_file"
                        .into(),
                );
                Access::None
            }
        }
    }
}
