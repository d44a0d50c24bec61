//! The API for a command: of the server that works with the data folder, or of this process alone.

use std::sync::Arc;
use std::time::Duration;

use kiln_engine::{Engine, Recovery, Verify};
use kiln_server::{AppState, HookSettings, Right, Token};
use rand::RngCore as _;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::compose;
use crate::config::Settings;
use crate::data_lock::{Claim, DataLock, ServerAddress};
use crate::error::CliError;

/// A client, and what has to live as long as it.
pub(crate) struct Api {
    pub(crate) client: Client,
    own: Option<Own>,
}

/// A server for this command alone.
struct Own {
    engine: Engine,
    stop: CancellationToken,
    _lock: DataLock,
}

impl Api {
    /// The named server, or the one that works with the data folder, or one of this process.
    pub(crate) async fn open(settings: &Settings, url: Option<String>) -> Result<Self, CliError> {
        let there = |address: &ServerAddress| {
            Ok(Self {
                client: Client::new(address, std::env::var("KILN_TOKEN").ok())?,
                own: None,
            })
        };
        if let Some(url) = url.or_else(|| std::env::var("KILN_SERVER").ok()) {
            return there(&ServerAddress { url });
        }
        let lock = match DataLock::claim(&settings.data)? {
            Claim::Served(address) => return there(&address),
            Claim::Ours(lock) => lock,
            Claim::Busy => DataLock::wait(&settings.data).await?,
        };
        Self::of_this_process(settings, lock).await
    }

    async fn of_this_process(settings: &Settings, lock: DataLock) -> Result<Self, CliError> {
        let fault = |error: std::io::Error| CliError::kiln("kiln can't listen on loopback", &error);
        let engine = compose::engine(settings, Verify::First).await?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(fault)?;
        let url = format!("http://{}", listener.local_addr().map_err(fault)?);
        // Others on this machine reach the port too.
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        let secret = hex::encode(secret);
        let token = Token {
            name: "local".into(),
            sha256: Sha256::digest(secret.as_bytes()).into(),
            workspace: None,
            rights: vec![Right::Admin],
        };
        let state = AppState::new(
            engine.clone(),
            Arc::new([Arc::new(token)]),
            HookSettings::default(),
            compose::install_binary(settings)?,
        );
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        engine.run_beside(async move {
            if let Err(error) = kiln_server::serve(listener, state, stopped).await {
                tracing::warn!(%error, "the server of the command stopped");
            }
        });
        Ok(Self {
            client: Client::new(&ServerAddress { url }, Some(secret))?,
            own: Some(Own {
                engine,
                stop,
                _lock: lock,
            }),
        })
    }

    /// Builds in this process too, where it is the server.
    pub(crate) async fn work(&self) -> Result<(), CliError> {
        if let Some(own) = &self.own {
            own.engine.recover(Recovery::Abandon).await?;
            own.engine.work();
        }
        Ok(())
    }

    /// Ends what this process serves.
    pub(crate) async fn close(self) {
        let Self { client, own } = self;
        drop(client);
        if let Some(own) = own {
            own.stop.cancel();
            own.engine.shutdown(Duration::from_secs(1)).await;
        }
    }
}
