//! How the queue is reached and used.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::ServerAddr;
use kiln_spec::Secret;

use crate::subject;

/// Settings of the queue. [`QueueSettings::default`] is a broker on this machine without credentials.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// The broker's addresses: `nats://HOST:PORT` or `tls://HOST:PORT`, without credentials.
    pub servers: Vec<String>,
    /// How kiln identifies itself.
    pub access: Access,
    /// Encryption beyond what the address and the broker ask for.
    pub tls: Tls,
    /// The stream of requests. It is made when it is absent, and so are `<stream>-dead`,
    /// `<stream>-results` and `<stream>-advisories`.
    pub stream: String,
    /// The subject of requests; a filter with `*` and `>` too.
    pub subject: String,
    /// The durable consumer's name; kilns that share it share the work.
    pub consumer: String,
    /// What the subjects of replies start with, without the last `.`; `None` takes no replies.
    pub reply_prefix: Option<String>,
    /// How many messages are dealt with at once, 1 to 1,024.
    pub max_ack_pending: u16,
    /// How long the broker waits for a sign of life before it delivers a message again, 1 s to 1 h.
    pub ack_wait: Duration,
    /// How often a message is delivered at most, 1 to 100.
    pub max_deliver: u8,
    /// How long a message that can't be taken yet is tried again within one delivery.
    pub retry_for: Duration,
    /// The first pause before a message is tried again; it doubles up to a minute.
    pub retry_delay: Duration,
    /// The largest message that is taken, in bytes.
    pub max_message_bytes: usize,
    /// How many of a cluster's servers keep each message, 1 to 5; for streams that kiln makes.
    pub replicas: u8,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self {
            servers: vec!["nats://127.0.0.1:4222".to_owned()],
            access: Access::None,
            tls: Tls::default(),
            stream: "kiln".to_owned(),
            subject: "kiln.builds".to_owned(),
            consumer: "kiln".to_owned(),
            reply_prefix: Some("kiln.results".to_owned()),
            max_ack_pending: 64,
            ack_wait: Duration::from_secs(30),
            max_deliver: 5,
            retry_for: Duration::from_hours(1),
            retry_delay: Duration::from_secs(1),
            max_message_bytes: 1024 * 1024,
            replicas: 1,
        }
    }
}

/// How kiln identifies itself to the broker.
#[derive(Debug, Clone, Default)]
pub enum Access {
    /// Not at all.
    #[default]
    None,
    /// A token.
    Token(Secret),
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A credentials file: a user's JWT and the seed of its key.
    CredentialsFile(PathBuf),
}

/// Encryption of the connection.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// Refuses a broker that offers no encryption. A `tls://` address does the same.
    pub required: bool,
    /// PEM certificates that are trusted in place of the machine's own.
    pub ca: Option<PathBuf>,
    /// kiln's own certificate and its key, in PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Settings that can't work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queue's setting `{setting}` is not usable: {reason}; {remedy}")]
pub struct SettingsError {
    /// The setting's name.
    pub setting: &'static str,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub remedy: &'static str,
}

impl QueueSettings {
    /// The subject of dead letters.
    pub fn dead_subject(&self) -> String {
        format!("{}.dead", self.stream)
    }

    /// The stream of dead letters.
    pub fn dead_stream(&self) -> String {
        format!("{}-dead", self.stream)
    }

    /// The stream of replies.
    pub fn results_stream(&self) -> String {
        format!("{}-results", self.stream)
    }

    /// The stream of the broker's advisories on messages that were delivered too often.
    pub fn advisory_stream(&self) -> String {
        format!("{}-advisories", self.stream)
    }

    pub(crate) fn results_filter(&self) -> Option<String> {
        self.reply_prefix
            .as_ref()
            .map(|prefix| format!("{prefix}.>"))
    }

    pub(crate) fn advisory_subject(&self) -> String {
        let (stream, consumer) = (&self.stream, &self.consumer);
        format!("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{stream}.{consumer}")
    }

    /// Checks the settings by themselves and answers the broker's addresses.
    pub fn check(&self) -> Result<Vec<ServerAddr>, SettingsError> {
        let servers = self.check_servers()?;
        for (setting, name) in [("stream", &self.stream), ("consumer", &self.consumer)] {
            let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_".contains(letter);
            if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
                return Err(SettingsError {
                    setting,
                    reason: format!("`{}` is no name", name.escape_debug()),
                    remedy: "use 1 to 64 ASCII letters, digits, `-` and `_`",
                });
            }
        }
        self.check_subjects()?;
        self.check_numbers()?;
        Ok(servers)
    }

    fn check_servers(&self) -> Result<Vec<ServerAddr>, SettingsError> {
        const FORM: &str = "write `nats://HOST:PORT` or `tls://HOST:PORT`";
        let fault = |reason: String, remedy| SettingsError {
            setting: "servers",
            reason,
            remedy,
        };
        if self.servers.is_empty() {
            return Err(fault("there is none".to_owned(), FORM));
        }
        let mut servers = Vec::new();
        for (number, text) in (1..).zip(&self.servers) {
            // The address is not repeated: it may hold a password.
            let Ok(server) = text.parse::<ServerAddr>() else {
                return Err(fault(format!("address {number} is not one"), FORM));
            };
            let url = server.clone().into_inner();
            if !url.username().is_empty() || url.password().is_some() {
                return Err(fault(
                    format!("address {number} holds credentials"),
                    "use a token, a user with a password, or a credentials file",
                ));
            }
            if !["nats", "tls"].contains(&url.scheme()) {
                return Err(fault(format!("address {number} has another scheme"), FORM));
            }
            servers.push(server);
        }
        Ok(servers)
    }

    fn check_subjects(&self) -> Result<(), SettingsError> {
        if let Some(reason) = subject::filter_fault(&self.subject) {
            return Err(SettingsError {
                setting: "subject",
                reason: reason.to_owned(),
                remedy: "use words joined by `.`, such as `kiln.builds`",
            });
        }
        let reply = self.reply_prefix.as_deref();
        if let Some(reason) = reply.and_then(subject::fault) {
            return Err(SettingsError {
                setting: "reply_prefix",
                reason: reason.to_owned(),
                remedy: "use words joined by `.`, such as `kiln.results`",
            });
        }
        let results = self.results_filter();
        let dead = self.dead_subject();
        let uses = [
            ("subject", Some(self.subject.as_str())),
            ("reply_prefix", results.as_deref()),
            ("stream", Some(dead.as_str())),
        ];
        for (number, (_, one)) in uses.iter().enumerate() {
            for (setting, other) in &uses[..number] {
                if let (Some(one), Some(other)) = (one, other)
                    && subject::overlap(one, other)
                {
                    return Err(SettingsError {
                        setting,
                        reason: format!("`{other}` and `{one}` share subjects"),
                        remedy: "keep requests, replies and dead letters apart",
                    });
                }
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), SettingsError> {
        let table = [
            (
                "max_ack_pending",
                u64::from(self.max_ack_pending),
                1..=1024,
                "give 1 to 1024",
            ),
            (
                "ack_wait",
                self.ack_wait.as_secs(),
                1..=3600,
                "give 1 s to 1 h",
            ),
            (
                "max_deliver",
                u64::from(self.max_deliver),
                1..=100,
                "give 1 to 100",
            ),
            (
                "retry_for",
                self.retry_for.as_secs(),
                0..=7 * 86_400,
                "give 7 days at most",
            ),
            ("replicas", u64::from(self.replicas), 1..=5, "give 1 to 5"),
            (
                "max_message_bytes",
                self.max_message_bytes as u64,
                1024..=64 * 1024 * 1024,
                "give 1 KiB to 64 MiB",
            ),
        ];
        for (setting, value, range, remedy) in table {
            if !range.contains(&value) {
                return Err(SettingsError {
                    setting,
                    reason: format!("{value} is out of range"),
                    remedy,
                });
            }
        }
        if self.retry_delay.is_zero() {
            return Err(SettingsError {
                setting: "retry_delay",
                reason: "it is nothing".to_owned(),
                remedy: "give a second or so",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault_of(change: impl FnOnce(&mut QueueSettings)) -> &'static str {
        let mut settings = QueueSettings::default();
        change(&mut settings);
        settings.check().map_or_else(|error| error.setting, |_| "")
    }

    #[test]
    fn the_defaults_are_usable() {
        assert_eq!(fault_of(|_| ()), "");
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        assert_eq!(fault_of(|s| s.servers.clear()), "servers");
        assert_eq!(fault_of(|s| s.servers = vec!["http://x".into()]), "servers");
        assert_eq!(fault_of(|s| s.servers = vec!["ws://x".into()]), "servers");
        assert_eq!(fault_of(|s| s.stream = "a.b".into()), "stream");
        assert_eq!(fault_of(|s| s.consumer = String::new()), "consumer");
        assert_eq!(fault_of(|s| s.subject = "a b".into()), "subject");
        assert_eq!(fault_of(|s| s.subject = "kiln.>".into()), "subject");
        assert_eq!(
            fault_of(|s| s.reply_prefix = Some("kiln.*".into())),
            "reply_prefix"
        );
        assert_eq!(fault_of(|s| s.reply_prefix = None), "");
        assert_eq!(fault_of(|s| s.max_ack_pending = 0), "max_ack_pending");
        assert_eq!(fault_of(|s| s.ack_wait = Duration::ZERO), "ack_wait");
        assert_eq!(fault_of(|s| s.max_deliver = 0), "max_deliver");
        assert_eq!(fault_of(|s| s.replicas = 6), "replicas");
    }

    #[test]
    fn secrets_are_not_told() {
        let settings = QueueSettings {
            servers: vec!["nats://me:hunter2@broker:4222".to_owned()],
            ..QueueSettings::default()
        };
        let error = settings.check().unwrap_err();
        assert_eq!(error.setting, "servers");
        assert!(!error.to_string().contains("hunter2"));
        let access = Access::Password {
            user: "me".to_owned(),
            password: Secret::new("hunter2"),
        };
        assert!(!format!("{access:?}").contains("hunter2"));
    }
}
