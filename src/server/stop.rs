//! The end of a process: told by a signal, and without losing what is under way.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::watch;

use crate::admin::Readiness;
use crate::config::Timeouts;
use crate::metrics::Metrics;

/// Ends the process: not ready at once, accepting a while more, requests in flight finished or cut at the limit, and out as
/// soon as nothing is left.
pub(super) struct Stop {
    pub(super) readiness: Readiness,
    pub(super) drain: watch::Sender<bool>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) timeouts: Timeouts,
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        self.readiness.set(true);
        let accept_for = self.wait_for_request().await;
        self.readiness.set(false);
        tracing::info!("stopping: no longer ready");
        tokio::select! {
            () = self.drained(accept_for) => {}
            _ = self.wait_for_request() => tracing::warn!("second signal: stopping at once"),
        }
        let cut = self.metrics.in_flight.get();
        if cut > 0 {
            tracing::warn!(cut, "requests were cut");
        }
        tracing::info!("stopped");
        // Nothing is left to wait for: pingora's own grace period would be slept in full.
        ShutdownSignal::FastShutdown
    }
}

impl Stop {
    /// Waits for a signal; tells how long to go on accepting.
    async fn wait_for_request(&self) -> Duration {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("cannot listen for signals");
            std::future::pending::<()>().await;
            return Duration::ZERO;
        };
        tokio::select! {
            _ = terminate.recv() => self.timeouts.drain_accept,
            _ = interrupt.recv() => Duration::ZERO,
        }
    }

    async fn drained(&self, accept_for: Duration) {
        let limit = tokio::time::Instant::now() + self.timeouts.drain;
        tokio::time::sleep(accept_for.min(self.timeouts.drain)).await;
        self.drain.send_replace(true);
        let idle = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            // Twice without a connection: one that was accepted a moment ago is counted by now. And a second without a
            // request: whoever holds half a head open holds nobody up.
            let (mut empty, mut quiet) = (0, 0);
            while empty < 2 && quiet < 50 {
                look.tick().await;
                empty = if self.metrics.connections.get() > 0 { 0 } else { empty + 1 };
                quiet = if self.metrics.in_flight.get() > 0 { 0 } else { quiet + 1 };
                if quiet == 0 {
                    empty = 0;
                }
            }
        };
        // Past the limit what is left is cut, and counted by the caller.
        drop(tokio::time::timeout_at(limit, idle).await);
    }
}
