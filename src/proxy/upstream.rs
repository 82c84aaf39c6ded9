//! Connections to the CRM: made on pingora's connector, kept in a bounded pool per thread.
//!
//! A pooled connection that turned out dead gives the request back unsent, and only then it goes out again. Whatever the
//! CRM may have read is never repeated.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use hyper::body::Incoming;
use pingora_core::connectors::TransportConnector;
use pingora_core::upstreams::peer::BasicPeer;
use prometheus::IntGauge;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use thread_local::ThreadLocal;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::line::{Failure, Line, Probe};
use super::upload::{Upload, UploadState};
use crate::clock::{Clock, Moment};
use crate::config;
use crate::denial::Denial;
use crate::tls::{self, TlsError};

/// The CRM and the connections to it.
pub struct Upstream {
    config: config::Upstream,
    keep_alive: Duration,
    connector: TransportConnector,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: ThreadLocal<RefCell<Pool>>,
    active_gauge: IntGauge,
    idle_gauge: IntGauge,
    is_down: AtomicBool,
    clock: Clock,
}

#[derive(Default)]
struct Pool {
    /// Oldest first.
    waiting: Vec<Waiting>,
    reaped: bool,
}

struct Waiting {
    line: Line,
    since: Moment,
}

/// Where a connection came from: only one that waited may have died unnoticed.
#[derive(Clone, Copy)]
enum Origin {
    Pool,
    New,
}

/// A connection in use by one request.
pub struct Lease {
    line: Option<Line>,
    upload: Option<Arc<UploadState>>,
    upstream: Arc<Upstream>,
}

impl Upstream {
    /// Prepares; connects when the first request comes.
    ///
    /// # Errors
    /// [`TlsError`], only for `https`.
    pub fn new(
        config: config::Upstream,
        keep_alive: Duration,
        gauges: &prometheus::IntGaugeVec,
        clock: &Clock,
    ) -> Result<Arc<Self>, TlsError> {
        let tls = if config.tls {
            let name = config.server_name.as_deref().unwrap_or(&config.host);
            Some(tls::connector(name, config.ca_file.as_deref(), config.identity.as_ref())?)
        } else {
            None
        };
        Ok(Arc::new(Self {
            config,
            keep_alive,
            connector: TransportConnector::new(None),
            tls,
            idle: ThreadLocal::new(),
            active_gauge: gauges.with_label_values(&["active"]),
            idle_gauge: gauges.with_label_values(&["idle"]),
            is_down: AtomicBool::new(false),
            clock: clock.clone(),
        }))
    }

    /// The section that this was made of.
    pub const fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// How long an unused connection is kept.
    pub const fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// Sends `request`, at the moment `now`, and waits for the response head.
    ///
    /// # Errors
    /// What went wrong, as the client may hear it.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Upload>,
        upload: Option<Arc<UploadState>>,
        timeouts: &config::Timeouts,
        now: Moment,
    ) -> Result<(Response<Incoming>, Lease), Denial> {
        let sent = self.clock.instant(now).into();
        loop {
            let (line, origin) = match self.reuse(now) {
                Some(line) => (line, Origin::Pool),
                // Boxed: it is seldom needed, and would make every request's future large.
                None => (Box::pin(self.connect(timeouts.upstream_connect)).await?, Origin::New),
            };
            let mut lease = Lease::new(line, upload.clone(), Arc::clone(self));
            let Some(line) = &mut lease.line else { return Err(Denial::UpstreamUnreachable) };
            match (line.exchange(request, upload.as_deref(), sent, timeouts.upstream_response).await, origin)
            {
                (Ok(response), _) => return Ok((response, lease)),
                (Err(Failure::Unsent(unsent)), Origin::Pool) => request = *unsent,
                (Err(Failure::Unsent(_)), Origin::New) => return Err(Denial::UpstreamUnreachable),
                (Err(Failure::Sent(denial)), _) => return Err(denial),
            }
        }
    }

    fn pool(&self) -> &RefCell<Pool> {
        self.idle.get_or_default()
    }

    /// The connection that was used last: it is the least likely to have gone stale.
    fn reuse(&self, now: Moment) -> Option<Line> {
        let mut pool = self.pool().borrow_mut();
        while let Some(Waiting { mut line, since }) = pool.waiting.pop() {
            self.idle_gauge.dec();
            if now.since(since) < self.keep_alive && line.is_ready() {
                return Some(line);
            }
        }
        None
    }

    fn keep(self: &Arc<Self>, mut line: Line, since: Moment) {
        let mut pool = self.pool().borrow_mut();
        if !line.is_through() || pool.waiting.len() >= self.config.idle_connections {
            return;
        }
        pool.waiting.push(Waiting { line, since });
        self.idle_gauge.inc();
        if !pool.reaped {
            pool.reaped = true;
            let weak = Arc::downgrade(self);
            tokio::spawn(async move {
                let Some(period) = weak.upgrade().map(|upstream| upstream.keep_alive) else {
                    return;
                };
                loop {
                    tokio::time::sleep(period).await;
                    let Some(upstream) = weak.upgrade() else { return };
                    if !upstream.reap() {
                        return;
                    }
                }
            });
        }
    }

    /// Drops what has waited too long; false when nothing is left and the reaper may end.
    fn reap(&self) -> bool {
        let mut pool = self.pool().borrow_mut();
        let (before, now) = (pool.waiting.len(), self.clock.monotonic());
        pool.waiting.retain(|waiting| now.since(waiting.since) < self.keep_alive);
        let after = pool.waiting.len();
        self.idle_gauge.sub(i64::try_from(before - after).unwrap_or(0));
        pool.reaped = after > 0;
        after > 0
    }

    async fn connect(&self, limit: Duration) -> Result<Line, Denial> {
        let deadline = Instant::now() + limit;
        if let Some(path) = &self.config.socket {
            let connected = timeout_at(deadline, self.connect_to_socket(path)).await;
            return connected.map_err(|_| Denial::UpstreamConnectTimeout)?;
        }
        let addresses = timeout_at(deadline, tokio::net::lookup_host((&*self.config.host, self.config.port)))
            .await
            .map_err(|_| Denial::UpstreamConnectTimeout)?
            .map_err(|error| self.unreachable(&error))?;
        let mut failed = Denial::UpstreamUnreachable;
        for address in addresses.take(8) {
            match timeout_at(deadline, self.connect_to(address)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(denial)) => failed = denial,
                Err(_) => return Err(Denial::UpstreamConnectTimeout),
            }
        }
        Err(failed)
    }

    async fn connect_to_socket(&self, path: &Path) -> Result<Line, Denial> {
        let stream = UnixStream::connect(path).await.map_err(|error| self.unreachable(&error))?;
        let probe = Arc::new(Probe::default());
        probe.watch(SockRef::from(&stream).try_clone().ok());
        let line = Line::open(stream, probe).await;
        self.reached();
        line.map_err(|error| self.unreachable(&error))
    }

    async fn connect_to(&self, address: SocketAddr) -> Result<Line, Denial> {
        let probe = Arc::new(Probe::default());
        let mut peer = BasicPeer::new(&address.to_string());
        let keep = Arc::clone(&probe);
        peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(move |socket| {
            keep.watch(SockRef::from(socket).try_clone().ok());
            Ok(())
        }));
        let stream =
            self.connector.new_stream(&peer).await.map_err(|error| self.unreachable(error.root_cause()))?;
        let line = match &self.tls {
            None => Line::open(stream, probe).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Line::open(stream.map_err(|error| self.unreachable(&error))?, probe).await
            }
        };
        self.reached();
        line.map_err(|error| self.unreachable(&error))
    }

    /// Said once, until a connection succeeds again: a CRM that is down must not fill the log.
    fn unreachable(&self, error: &dyn std::fmt::Display) -> Denial {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(crm = %self.config.place(), %error, "the CRM cannot be reached");
        }
        Denial::UpstreamUnreachable
    }

    fn reached(&self) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!(crm = %self.config.place(), "the CRM can be reached again");
        }
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        let waiting: usize = self.idle.iter_mut().map(|pool| pool.get_mut().waiting.len()).sum();
        self.idle_gauge.sub(i64::try_from(waiting).unwrap_or(0));
    }
}

impl Lease {
    fn new(line: Line, upload: Option<Arc<UploadState>>, upstream: Arc<Upstream>) -> Self {
        upstream.active_gauge.inc();
        Self { line: Some(line), upload, upstream }
    }

    /// Lets the CRM's bytes come in while the answer goes out.
    pub fn drive(&mut self, cx: &Context<'_>) {
        if let Some(upload) = &self.upload {
            upload.tell(cx.waker());
        }
        if let Some(line) = &mut self.line {
            line.drive(cx);
        }
    }

    /// The next frame of an answer: one that is here already, or else what its connection brings now.
    pub fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Only the driver brings frames: a waker of their own would wake this task once more for nothing.
        if self.is_released() {
            return Pin::new(body).poll_frame(cx);
        }
        let idle = &mut Context::from_waker(Waker::noop());
        match Pin::new(&mut *body).poll_frame(idle) {
            Poll::Pending => {
                self.drive(cx);
                Pin::new(body).poll_frame(idle)
            }
            known @ Poll::Ready(_) => known,
        }
    }

    /// Lets a connection run on by itself whose answer came before the request was whole: neither must wait for the other.
    pub fn release_unfinished(&mut self) {
        if let Some(upload) = self.upload.as_ref().filter(|upload| !upload.is_whole()) {
            upload.tell_nobody();
            self.release();
        }
    }

    /// True if nobody here drives the connection.
    const fn is_released(&self) -> bool {
        self.line.is_none()
    }

    /// Lets a connection that is no longer HTTP run on by itself.
    pub fn release(&mut self) {
        if let Some(line) = self.line.take() {
            line.release();
        }
    }

    /// Returns the connection to the pool at the moment `now`, unless part of the request is still under way.
    pub fn give_back(mut self, now: Moment) {
        let whole = self.upload.as_ref().is_none_or(|upload| upload.is_whole());
        if let Some(line) = self.line.take()
            && whole
        {
            self.upstream.keep(line, now);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.upstream.active_gauge.dec();
    }
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease").finish_non_exhaustive()
    }
}
