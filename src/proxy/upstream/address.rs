//! One address of the CRM: connections to it, kept in a bounded pool per thread.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use nix::errno::Errno;
use rustls_pki_types::ServerName;
use socket2::SockRef;
use thread_local::ThreadLocal;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::health::{Evidence, Health};
use super::pool::{Keeping, Pool};
use crate::clock::{Clock, Moment};
use crate::config;
use crate::denial::Denial;
use crate::proxy::line::{Line, Probe};
use crate::socket::Socket;

/// Most addresses of one name that are tried.
const MOST_TRIED: usize = 8;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoConnection {
    /// Not in time.
    #[error("no connection in time")]
    Late,
    /// The name was not found, or nobody takes connections there, or TLS failed.
    #[error("{0}")]
    Refused(String),
    /// We have no descriptor, port or memory for it, which tells nothing of the CRM.
    #[error("{0}")]
    Short(String),
}

impl NoConnection {
    fn refused(error: impl std::fmt::Display) -> Self {
        Self::Refused(error.to_string())
    }

    fn of(error: &io::Error) -> Self {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMFILE | Errno::ENFILE | Errno::EADDRNOTAVAIL | Errno::ENOBUFS | Errno::ENOMEM) => {
                Self::Short(error.to_string())
            }
            Some(_) | None => Self::refused(error),
        }
    }

    /// As the client may hear it.
    pub(super) const fn denial(&self) -> Denial {
        match self {
            Self::Late => Denial::UpstreamConnectTimeout,
            Self::Refused(_) => Denial::UpstreamUnreachable,
            Self::Short(_) => Denial::UpstreamFull,
        }
    }
}

/// TLS, and the name that the other side's certificate must have.
pub(super) type Tls = (TlsConnector, ServerName<'static>);

/// One address.
pub(super) struct Address {
    place: config::Address,
    tls: Option<Tls>,
    idle: ThreadLocal<RefCell<Pool>>,
    keeping: Keeping,
    clock: Clock,
    /// Requests under way there; counted only where there is a choice.
    pub(super) busy: AtomicUsize,
    pub(super) health: Health,
}

impl Address {
    pub(super) fn new(
        place: config::Address,
        tls: Option<Tls>,
        keeping: Keeping,
        health: Health,
        clock: Clock,
    ) -> Self {
        Self { place, tls, idle: ThreadLocal::new(), keeping, clock, busy: AtomicUsize::new(0), health }
    }

    /// Where it is.
    pub(super) const fn place(&self) -> &config::Address {
        &self.place
    }

    #[inline]
    fn pool(&self) -> &RefCell<Pool> {
        self.idle.get_or_default()
    }

    /// A connection that waits.
    #[inline]
    pub(super) fn reuse(&self, now: Moment) -> Option<Box<Line>> {
        self.pool().borrow_mut().take(&self.keeping, now)
    }

    /// Takes a connection back that was used until `since`.
    #[inline]
    pub(super) fn keep(self: &Arc<Self>, line: Box<Line>, since: Moment) {
        if self.pool().borrow_mut().keep(&self.keeping, line, since) {
            tokio::spawn(Self::reap(Arc::downgrade(self), self.keeping.keep_alive));
        }
    }

    /// Drops what waited too long on this thread, until nothing waits.
    async fn reap(weak: Weak<Self>, period: Duration) {
        loop {
            tokio::time::sleep(period).await;
            let Some(address) = weak.upgrade() else { return };
            if !address.pool().borrow_mut().reap(&address.keeping, address.clock.monotonic()) {
                return;
            }
        }
    }

    /// A new connection, and what is learnt of the address by making it.
    pub(super) async fn connect(&self, until: Instant) -> Result<Box<Line>, NoConnection> {
        match timeout_at(until, self.dial(until)).await.unwrap_or(Err(NoConnection::Late)) {
            Ok(line) => {
                self.health.connected();
                Ok(line)
            }
            Err(error @ NoConnection::Short(_)) => {
                tracing::debug!(%error, "no connection to the CRM can be made");
                Err(error)
            }
            Err(error) => {
                self.health.failed(Evidence::Unconnected, &error, self.clock.monotonic());
                Err(error)
            }
        }
    }

    /// A new connection. A name is resolved anew each time; its addresses are tried in the order in which they were given, and
    /// share the time: one that swallows what it is sent leaves some to the others.
    pub(super) async fn dial(&self, until: Instant) -> Result<Box<Line>, NoConnection> {
        let (host, port) = match &self.place {
            config::Address::Socket(path) => return self.dial_socket(path).await,
            config::Address::Tcp { host, port } => (&**host, *port),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let found = tokio::net::lookup_host((bare, port)).await.map_err(NoConnection::refused)?;
        let found: Vec<SocketAddr> = found.take(MOST_TRIED).collect();
        let mut failed = NoConnection::Refused("the name has no address".to_owned());
        for (at, address) in found.iter().enumerate() {
            match timeout_at(share(until, found.len() - at), self.dial_address(*address)).await {
                Ok(Ok(line)) => return Ok(line),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = NoConnection::Late,
            }
        }
        Err(failed)
    }

    async fn dial_socket(&self, path: &Path) -> Result<Box<Line>, NoConnection> {
        let stream = UnixStream::connect(path).await.map_err(|error| NoConnection::of(&error))?;
        let probe = Probe::of(SockRef::from(&stream));
        Line::open(Socket::Unix(stream), probe).await.map(Box::new).map_err(NoConnection::refused)
    }

    async fn dial_address(&self, address: SocketAddr) -> Result<Box<Line>, NoConnection> {
        let stream = TcpStream::connect(address).await.map_err(|error| NoConnection::of(&error))?;
        // Each write is a whole message or a part that should not wait for the next.
        stream.set_nodelay(true).map_err(NoConnection::refused)?;
        let probe = Probe::of(SockRef::from(&stream));
        let stream = Socket::Tcp(stream);
        let line = match &self.tls {
            None => Line::open(stream, probe).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                Line::open(stream.map_err(NoConnection::refused)?, probe).await
            }
        };
        line.map(Box::new).map_err(NoConnection::refused)
    }

    /// One more or less request under way.
    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let waiting: usize = self.idle.iter_mut().map(|pool| pool.get_mut().len()).sum();
        self.keeping.gauge.sub(i64::try_from(waiting).unwrap_or(0));
    }
}

/// What the next of so many that are `left` may take of the time until then.
pub(super) fn share(until: Instant, left: usize) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) / u32::try_from(left.max(1)).unwrap_or(u32::MAX)
}
