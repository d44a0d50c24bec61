//! Serving until told to stop.

use std::future::IntoFuture as _;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::router::{AppState, router};

/// How long open requests may take after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// Serves on the listener until `shutdown` is cancelled and open requests are answered, at most for a
/// grace period.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    let stop = shutdown.clone();
    let server = axum::serve(listener, router(state))
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
