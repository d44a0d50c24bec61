//! `kiln serve`: the daemon.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::Args;
use kiln_engine::{Recovery, ReplyPublisher, Verify};
use kiln_queue::{Broker, Queue};
use kiln_server::{AppState, Egress, HookSettings, TlsListener, deliver_events, tls_config};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::callback_secret::callback_secrets;
use crate::compose;
use crate::config::{Settings, Tls};
use crate::data_lock::{Claim, DataLock, ServerAddress};
use crate::error::CliError;

/// Connections that wait to be accepted; the kernel may take less.
const BACKLOG: u32 = 16_384;

/// Arguments of `kiln serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// ADDRESS:PORT; port 0 takes a free one [env: KILN_LISTEN].
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
    /// Where images go, HOST[/PREFIX] [env: KILN_REGISTRY].
    #[arg(long, value_name = "HOST[/PREFIX]")]
    pub(crate) registry: Option<String>,
}

/// Serves until SIGTERM or SIGINT; a second signal ends at once.
pub(crate) async fn run(settings: Settings) -> Result<(), CliError> {
    log();
    let Claim::Ours(lock) = DataLock::claim(&settings.data)? else {
        return Err(CliError::input(
            format!("{} is in use by another kiln", settings.data.display()),
            "stop it, or give another --data",
        ));
    };
    allow_many_files();
    // Before anybody can know that kiln is there.
    let mut signals = StopSignals::listen()
        .map_err(|error| CliError::kiln("kiln can't listen for signals", &error))?;
    let listener = listen(settings.listen).map_err(|error| {
        CliError::kiln(&format!("kiln can't listen on {}", settings.listen), &error)
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| CliError::kiln("the listener has no address", &error))?;
    let secure = settings.tls.as_ref().map(listen_with_tls).transpose()?;
    let engine = compose::engine(&settings, Verify::Background).await?;
    engine.recover(Recovery::Resume).await?;
    engine.work();
    let url = format!("http://{address}");
    lock.publish(&ServerAddress { url: url.clone() })?;
    if let Some(secure) = &secure {
        let address = secure.address();
        super::print(&format!("kiln listens with TLS on https://{address}"))?;
    }
    super::print(&format!("kiln listens on {url}"))?;
    let shutdown = CancellationToken::new();
    let tokens: Arc<[_]> = settings.tokens.iter().cloned().map(Arc::new).collect();
    let hooks = HookSettings {
        sources: settings.hooks.sources.clone(),
        callback_secrets: callback_secrets(&settings.data)?,
    };
    let egress = Egress::new(settings.hooks.networks)
        .map_err(|error| CliError::kiln("the client for events can't start", &error))?;
    let broker = match &settings.queue {
        Some(queue) => Some(Broker::connect(queue.clone()).await.map_err(|error| {
            CliError::input(error.to_string(), "correct `queue` in the configuration")
        })?),
        None => None,
    };
    let replies = broker
        .as_ref()
        .map(|broker| Arc::new(broker.replies()) as Arc<dyn ReplyPublisher>);
    engine.run_beside(deliver_events(
        engine.clone(),
        egress,
        hooks.callback_secrets.clone(),
        replies,
    ));
    let every = settings.limits.verify_every;
    if !every.is_zero() {
        let verifying = engine.clone();
        engine.run_beside(async move { verifying.keep_verified(every).await });
    }
    let every = settings.gc.every;
    if !every.is_zero() {
        let collecting = engine.clone();
        engine.run_beside(async move { collecting.keep_collected(every).await });
    }
    let state = AppState::new(
        engine.clone(),
        tokens,
        hooks,
        compose::install_binary(&settings)?,
    );
    let queue = broker
        .as_ref()
        .map(|broker| Queue::start(broker, Arc::new(engine.clone()), &shutdown));
    let state = match settings.tls.as_ref().and_then(|tls| tls.blob_host.clone()) {
        Some(host) => state.with_blob_host(host),
        None => state,
    };
    let secure = async {
        match secure {
            Some(secure) => kiln_server::serve_tls(secure, state.clone(), shutdown.clone()).await,
            None => Ok(()),
        }
    };
    let server = kiln_server::serve(listener, state.clone(), shutdown.clone());
    let server = async { tokio::try_join!(server, secure).map(drop) };
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => {
            return result.map_err(|error| CliError::kiln("the server stopped", &error));
        }
        () = signals.next() => {}
    }
    tracing::info!("stopping: no new work is taken");
    shutdown.cancel();
    let drain = async {
        if let Some(queue) = &queue {
            queue.stop().await;
        }
        engine.shutdown(settings.limits.drain).await;
        if let Err(error) = server.await {
            tracing::warn!(%error, "the server did not end well");
        }
    };
    tokio::select! {
        () = drain => {}
        () = signals.next() => tracing::warn!("stopping at once"),
    }
    drop(lock);
    Ok(())
}

/// Thousands may wait for a build at once, each with a connection.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Listens with a long queue: callers that come at once are not turned away.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Listens with the certificate of the settings.
fn listen_with_tls(tls: &Tls) -> Result<TlsListener, CliError> {
    let config = tls_config(&tls.certificate, &tls.key).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
        CliError::input(
            format!("tls: {error}{}", cause.unwrap_or_default()),
            "give PEM files of a certificate and of its key that kiln may read",
        )
    })?;
    let listening = listen(tls.listen).and_then(|listener| TlsListener::new(listener, config));
    listening
        .map_err(|error| CliError::kiln(&format!("kiln can't listen on {}", tls.listen), &error))
}

/// SIGTERM and SIGINT, from the time this is made on.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn log() {
    let filter = EnvFilter::try_from_env("KILN_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .finish();
    // A second subscriber can only be a test's.
    let _ = tracing::subscriber::set_global_default(subscriber);
}
