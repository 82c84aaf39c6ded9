//! Connections to the CRM: made on pingora's connector, spoken over by hyper, kept in a bounded pool per thread.
//!
//! A pooled connection that turned out dead gives the request back unsent, and only then it goes out again. Whatever the
//! CRM may have read is never repeated.

use std::cell::RefCell;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use pingora_core::connectors::TransportConnector;
use pingora_core::upstreams::peer::BasicPeer;
use prometheus::IntGauge;
use rustls_pki_types::ServerName;
use socket2::{SockRef, Socket};
use thread_local::ThreadLocal;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::client_io::Timer;
use super::upload::{Upload, UploadState};
use crate::config;
use crate::denial::Denial;
use crate::tls::{self, TlsError};

/// Most bytes of a response head from the CRM. The number of its fields is left at hyper's 100, which live on the stack:
/// any other number is an allocation and a fill per response.
const MOST_HEAD_BYTES: usize = 64 * 1024;

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
}

#[derive(Default)]
struct Pool {
    /// Oldest first.
    waiting: Vec<Waiting>,
    reaped: bool,
}

struct Waiting {
    sender: SendRequest<Upload>,
    since: Instant,
    patience: Timer,
    probe: Arc<Probe>,
}

/// hyper's handle of a connection, and a look at its socket.
type Connected = (SendRequest<Upload>, Arc<Probe>);

/// A second descriptor of a connection's socket. An end that the CRM sent is in the socket before the runtime hears of it;
/// a request must not go out on top of it.
#[derive(Debug, Default)]
struct Probe(Mutex<Option<Socket>>);

impl Probe {
    /// True if nothing waits in the socket: no end, no error, and no byte that nobody asked for.
    fn is_quiet(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        match &*self.0.lock() {
            Some(socket) => {
                matches!(socket.peek(&mut byte), Err(error) if error.kind() == ErrorKind::WouldBlock)
            }
            None => true,
        }
    }
}

/// A connection in use by one request.
pub struct Lease {
    sender: Option<SendRequest<Upload>>,
    /// Waits for response heads; moves along with the connection, because a timer that is set anew costs more.
    patience: Timer,
    probe: Arc<Probe>,
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
    ) -> Result<Arc<Self>, TlsError> {
        let tls =
            if config.tls { Some(tls::connector(&config.host, config.ca_file.as_deref())?) } else { None };
        Ok(Arc::new(Self {
            config,
            keep_alive,
            connector: TransportConnector::new(None),
            tls,
            idle: ThreadLocal::new(),
            active_gauge: gauges.with_label_values(&["active"]),
            idle_gauge: gauges.with_label_values(&["idle"]),
            is_down: AtomicBool::new(false),
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

    /// Sends `request` and waits for the response head.
    ///
    /// # Errors
    /// What went wrong, as the client may hear it.
    pub async fn send(
        self: &Arc<Self>,
        mut request: Request<Upload>,
        upload: Option<Arc<UploadState>>,
        timeouts: &config::Timeouts,
    ) -> Result<(Response<Incoming>, Lease), Denial> {
        if let Some(mut lease) = self.reuse(upload.clone()) {
            match lease.exchange(request, timeouts.upstream_response).await {
                Ok(response) => return Ok((response, lease)),
                Err(Failure::Unsent(unsent)) => request = *unsent,
                Err(Failure::Sent(denial)) => return Err(denial),
            }
        }
        let connected = self.connect(timeouts.upstream_connect).await?;
        let mut lease = Lease::new(connected, Timer::default(), upload, Arc::clone(self));
        match lease.exchange(request, timeouts.upstream_response).await {
            Ok(response) => Ok((response, lease)),
            Err(Failure::Unsent(_)) => Err(Denial::UpstreamUnreachable),
            Err(Failure::Sent(denial)) => Err(denial),
        }
    }

    fn pool(&self) -> &RefCell<Pool> {
        self.idle.get_or_default()
    }

    /// The connection that was used last: it is the least likely to have gone stale.
    fn reuse(self: &Arc<Self>, upload: Option<Arc<UploadState>>) -> Option<Lease> {
        let mut pool = self.pool().borrow_mut();
        while let Some(Waiting { sender, since, patience, probe }) = pool.waiting.pop() {
            self.idle_gauge.dec();
            if sender.is_ready() && since.elapsed() < self.keep_alive && probe.is_quiet() {
                return Some(Lease::new((sender, probe), patience, upload, Arc::clone(self)));
            }
        }
        None
    }

    fn keep(self: &Arc<Self>, (sender, probe): Connected, patience: Timer) {
        let mut pool = self.pool().borrow_mut();
        if sender.is_closed() || pool.waiting.len() >= self.config.idle_connections {
            return;
        }
        pool.waiting.push(Waiting { sender, since: Instant::now(), patience, probe });
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
        let before = pool.waiting.len();
        pool.waiting
            .retain(|waiting| !waiting.sender.is_closed() && waiting.since.elapsed() < self.keep_alive);
        let after = pool.waiting.len();
        self.idle_gauge.sub(i64::try_from(before - after).unwrap_or(0));
        pool.reaped = after > 0;
        after > 0
    }

    async fn connect(&self, limit: Duration) -> Result<Connected, Denial> {
        let deadline = Instant::now() + limit;
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

    async fn connect_to(&self, address: SocketAddr) -> Result<Connected, Denial> {
        let probe = Arc::new(Probe::default());
        let mut peer = BasicPeer::new(&address.to_string());
        let keep = Arc::clone(&probe);
        peer.options.upstream_tcp_sock_tweak_hook = Some(Arc::new(move |socket| {
            *keep.0.lock() = SockRef::from(socket).try_clone().ok();
            Ok(())
        }));
        let stream =
            self.connector.new_stream(&peer).await.map_err(|error| self.unreachable(error.root_cause()))?;
        let sender = match &self.tls {
            None => self.handshake(stream).await?,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                self.handshake(stream.map_err(|error| self.unreachable(&error))?).await?
            }
        };
        Ok((sender, probe))
    }

    async fn handshake<S>(&self, stream: S) -> Result<SendRequest<Upload>, Denial>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_header_size(MOST_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.unreachable(&error))?;
        self.reached();
        // What ends a connection is told to the request that it carries.
        tokio::spawn(async move { drop(connection.with_upgrades().await) });
        Ok(sender)
    }

    /// Said once, until a connection succeeds again: a CRM that is down must not fill the log.
    fn unreachable(&self, error: &dyn std::fmt::Display) -> Denial {
        if !self.is_down.swap(true, Ordering::Relaxed) {
            tracing::warn!(host = %self.config.host, port = self.config.port, %error, "the CRM cannot be reached");
        }
        Denial::UpstreamUnreachable
    }

    fn reached(&self) {
        if self.is_down.swap(false, Ordering::Relaxed) {
            tracing::info!(host = %self.config.host, port = self.config.port, "the CRM can be reached again");
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

enum Failure {
    /// Not one byte was taken: it may go out again.
    Unsent(Box<Request<Upload>>),
    /// The CRM may have acted on it.
    Sent(Denial),
}

impl Lease {
    fn new(
        (sender, probe): Connected,
        patience: Timer,
        upload: Option<Arc<UploadState>>,
        upstream: Arc<Upstream>,
    ) -> Self {
        upstream.active_gauge.inc();
        Self { sender: Some(sender), patience, probe, upload, upstream }
    }

    async fn exchange(
        &mut self,
        request: Request<Upload>,
        limit: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let Some(sender) = &mut self.sender else {
            return Err(Failure::Unsent(Box::new(request)));
        };
        let mut sending = std::pin::pin!(sender.try_send_request(request));
        let (patience, upload) = (&mut self.patience, &self.upload);
        let (mut seen, mut due) = (0, Instant::now() + limit);
        let answered = std::future::poll_fn(|cx| {
            if let Poll::Ready(answered) = sending.as_mut().poll(cx) {
                return Poll::Ready(Some(answered));
            }
            while patience.poll(cx, due).is_ready() {
                // A long upload is no silence of the CRM's.
                let bytes =
                    upload.as_ref().filter(|upload| !upload.is_whole()).map_or(0, |upload| upload.bytes());
                if bytes <= seen {
                    return Poll::Ready(None);
                }
                (seen, due) = (bytes, Instant::now() + limit);
            }
            Poll::Pending
        })
        .await;
        let Some(answered) = answered else { return Err(Failure::Sent(Denial::UpstreamTimeout)) };
        answered.map_err(|mut error| match error.take_message() {
            Some(unsent) => Failure::Unsent(Box::new(unsent)),
            None => {
                let by_client = self.upload.as_ref().and_then(|upload| upload.denial());
                Failure::Sent(by_client.unwrap_or_else(|| {
                    tracing::warn!(error = %error.error(), "the CRM's connection broke or its answer was not HTTP");
                    Denial::UpstreamBroken
                }))
            }
        })
    }

    /// Returns the connection to the pool, unless part of the request is still under way.
    pub fn give_back(mut self) {
        let whole = self.upload.as_ref().is_none_or(|upload| upload.is_whole());
        if let Some(sender) = self.sender.take()
            && whole
        {
            let patience = std::mem::take(&mut self.patience);
            self.upstream.keep((sender, Arc::clone(&self.probe)), patience);
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
