//! Serving until told to stop.

use std::future::IntoFuture as _;
use std::time::Duration;

use axum::serve::Listener;
use http::HeaderValue;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::router::{AppState, router};
use crate::tls::TlsListener;

/// How long open requests may take after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// Serves on the listener until `shutdown` is cancelled and open requests are answered, at most for a
/// grace period.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    run(listener, router(state), shutdown).await
}

/// Serves as [`serve`] does, with TLS.
pub async fn serve_tls(
    listener: TlsListener,
    state: AppState,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    // Answers with addresses of this server name the scheme by which it was reached.
    let https = axum::middleware::map_request(async |mut request: axum::extract::Request| {
        let header = "x-forwarded-proto";
        let value = HeaderValue::from_static("https");
        request.headers_mut().entry(header).or_insert(value);
        request
    });
    run(listener, router(state).layer(https), shutdown).await
}

async fn run<L>(
    listener: L,
    router: axum::Router,
    shutdown: CancellationToken,
) -> std::io::Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let stop = shutdown.clone();
    let server = axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .into_future();
    tokio::pin!(server);
    tokio::select! {
        result = &mut server => result,
        () = async { shutdown.cancelled().await; tokio::time::sleep(GRACE).await } => {
            tracing::warn!("requests were still open after the grace period");
            Ok(())
        }
    }
}
