//! The connection to the broker.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{ConnectOptions, Event, Server};
use tracing::{info, warn};

use crate::pace;
use crate::settings::{Access, QueueSettings, SettingsError};

/// How long the broker may take to answer a question or to confirm a message.
const ANSWER: Duration = Duration::from_secs(5);

/// The first pause before kiln connects again.
const RECONNECT: Duration = Duration::from_millis(250);

/// A connection to the broker. It is made in the background, comes back by itself for ever, and may be cloned.
#[derive(Debug, Clone)]
pub struct Broker {
    pub(crate) client: async_nats::Client,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) settings: Arc<QueueSettings>,
    fault: LastFault,
}

/// Why there is no connection, until there is one.
#[derive(Debug, Clone, Default)]
struct LastFault(Arc<Mutex<Faults>>);

#[derive(Debug, Default)]
struct Faults {
    /// What an event said.
    event: Option<String>,
    /// Why a server of the list could not be reached, which says more.
    server: Option<String>,
}

/// A connection that can't even be tried.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A setting is at fault.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A file that a setting names can't be read.
    #[error("the queue's {what} `{}` can't be used", path.display())]
    File {
        /// What the file is for.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The client can't be made.
    #[error("the client of the queue can't be made")]
    Client(#[source] async_nats::ConnectError),
}

impl Broker {
    /// Checks the settings and begins to connect; the broker need not be there yet.
    pub async fn connect(settings: QueueSettings) -> Result<Self, ConnectError> {
        let servers = settings.check()?;
        let fault = LastFault::default();
        let options = with_tls(options(fault.clone()), &settings).await?;
        let options = with_access(options, &settings).await?;
        let client = options
            .connect(servers)
            .await
            .map_err(ConnectError::Client)?;
        let jetstream = ContextBuilder::new()
            .timeout(ANSWER)
            .ack_timeout(ANSWER)
            .build(client.clone());
        Ok(Self {
            client,
            jetstream,
            settings: Arc::new(settings),
            fault,
        })
    }

    /// Why there is no connection, when there is none.
    pub(crate) fn fault(&self) -> Option<String> {
        let faults = self.fault.lock();
        faults.server.clone().or_else(|| faults.event.clone())
    }
}

fn options(fault: LastFault) -> ConnectOptions {
    let of_servers = fault.clone();
    ConnectOptions::new()
        .name("kiln")
        .retry_on_initial_connect()
        .max_reconnects(None)
        .reconnect_delay_callback(|attempt| {
            pace::pause(RECONNECT, u32::try_from(attempt).unwrap_or(u32::MAX))
        })
        // It chooses nothing: only here does the client tell why a server could not be reached.
        .reconnect_to_server_callback(move |servers, _| {
            of_servers.note_servers(&servers);
            async { None }
        })
        .connection_timeout(ANSWER)
        .request_timeout(Some(ANSWER))
        .ping_interval(Duration::from_secs(20))
        .event_callback(move |event| {
            fault.note(&event);
            async move { log(&event) }
        })
}

impl LastFault {
    fn lock(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Connected => *self.lock() = Faults::default(),
            Event::Disconnected | Event::ServerError(_) | Event::ClientError(_) => {
                self.lock().event = Some(event.to_string());
            }
            _ => {}
        }
    }

    fn note_servers(&self, servers: &[Server]) {
        let mut errors = servers.iter().rev();
        if let Some(error) = errors.find_map(|server| server.last_error.clone()) {
            self.lock().server = Some(error);
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::Connected => info!("connected to the queue"),
        Event::Draining | Event::Closed => info!("the connection to the queue: {event}"),
        Event::ServerError(_) | Event::ClientError(_) | Event::SlowConsumer(_) => {
            warn!("the connection to the queue: {event}");
        }
        Event::Disconnected | Event::LameDuckMode => {
            warn!("the connection to the queue: {event}; kiln connects again by itself");
        }
    }
}

async fn with_tls(
    mut options: ConnectOptions,
    settings: &QueueSettings,
) -> Result<ConnectOptions, ConnectError> {
    let tls = &settings.tls;
    if tls.required {
        options = options.require_tls(true);
    }
    if let Some(file) = &tls.ca {
        readable("CA file", file).await?;
        options = options.add_root_certificates(file.clone());
    }
    if let Some((certificate, key)) = &tls.identity {
        readable("certificate", certificate).await?;
        readable("certificate's key", key).await?;
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

async fn with_access(
    options: ConnectOptions,
    settings: &QueueSettings,
) -> Result<ConnectOptions, ConnectError> {
    Ok(match &settings.access {
        Access::None => options,
        Access::Token(token) => options.token(token.expose().to_owned()),
        Access::Password { user, password } => {
            options.user_and_password(user.clone(), password.expose().to_owned())
        }
        Access::CredentialsFile(file) => options
            .credentials_file(file)
            .await
            .map_err(|source| file_error("credentials file", file, source))?,
    })
}

/// Reads a file that the client reads again, on every connection, where a fault would only be logged.
async fn readable(what: &'static str, file: &Path) -> Result<(), ConnectError> {
    let read = tokio::fs::read(file).await;
    read.map_or_else(|source| Err(file_error(what, file, source)), |_| Ok(()))
}

fn file_error(what: &'static str, path: &Path, source: std::io::Error) -> ConnectError {
    ConnectError::File {
        what,
        path: path.to_owned(),
        source,
    }
}
