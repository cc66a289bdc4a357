//! Connections: accepting them, their time limits, and the end.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use parsimon::tensor::CancelFlag;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::app::{App, router};

/// Limits that concern connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The most connections at once; more wait to be accepted.
    pub(crate) connections: usize,
    /// How long the head of a request may take, and how long a connection may be idle.
    pub(crate) header_timeout: Duration,
    /// How long running requests may go on after the signal to stop.
    pub(crate) drain: Duration,
}

/// How often the signal to stop is looked for.
const POLL: Duration = Duration::from_millis(20);
/// How long open connections may take to close when no request runs any more.
const CLOSE: Duration = Duration::from_secs(2);

/// Serves until `stop` is set and what runs is done.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, limits: Limits, stop: CancelFlag) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let connections = GracefulShutdown::new();
    let service = TowerToHyperService::new(router(Arc::clone(&app)));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(limits.header_timeout);
    let drained = drained(&app, &stop, limits.drain);
    tokio::pin!(drained);
    loop {
        let slot = tokio::select! {
            () = &mut drained => break,
            slot = Arc::clone(&slots).acquire_owned() => slot.expect("the semaphore is never closed"),
        };
        let stream = tokio::select! {
            () = &mut drained => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    // Out of file descriptors, or a connection that was gone before it was taken: it passes.
                    tracing::warn!("a connection was not accepted: {e}");
                    tokio::time::sleep(POLL).await;
                    continue;
                }
            },
        };
        // Tokens are small and should leave at once.
        let _ = stream.set_nodelay(true);
        let connection = connections.watch(builder.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(e) = connection.await {
                tracing::debug!("a connection ended: {e}");
            }
            drop(slot);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(CLOSE, connections.shutdown()).await;
}

/// Waits for the signal, and then until nothing runs.
async fn drained(app: &App, stop: &CancelFlag, limit: Duration) {
    while !stop.is_cancelled() {
        tokio::time::sleep(POLL).await;
    }
    app.drain();
    let idle = async {
        while !app.engine.is_idle() {
            tokio::time::sleep(POLL).await;
        }
    };
    if tokio::time::timeout(limit, idle).await.is_err() {
        tracing::warn!("requests are still running and are cut off");
    }
}
