//! Places for connections: counted in all and per address. Whoever finds none is turned away, and told where that is cheap.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::Proxy;
use super::greeting::Slot;
use crate::client_addr::AddrGroup;
use crate::config::Listener;
use crate::denial::Denial;
use crate::metrics::Shed;
use crate::socket::Socket;

/// Clients that are told at once that there is no place; more are not told.
const MOST_TOLD: usize = 100;
/// How long telling one may take, and how much of what it sent meanwhile is read, in bytes.
const TELLING: Duration = Duration::from_secs(1);
const MOST_UNREAD: usize = 64 * 1024;

/// Open client connections, in all and per address. The map holds one entry per connected address, so the limit on
/// connections bounds it.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    by_address: DashMap<AddrGroup, usize>,
    /// TLS handshakes under way.
    pub handshakes: Arc<AtomicUsize>,
    /// Requests over HTTP/2 under way: one connection brings many.
    pub streams: Arc<AtomicUsize>,
    /// Clients that are being turned away.
    turned_away: Arc<AtomicUsize>,
}

/// One counted connection; dropping it counts it out. A tunnel keeps that of the connection that it was opened
/// on, and so does a delivery that goes on although its sender hung up.
#[derive(Debug)]
pub struct Place {
    proxy: Arc<Proxy>,
    group: Option<AddrGroup>,
}

impl Place {
    /// One of all.
    pub(super) fn take(proxy: &Arc<Proxy>) -> Option<Self> {
        let connections = &proxy.connections;
        if connections.open.fetch_add(1, Ordering::Relaxed) >= proxy.limits.connections {
            connections.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        proxy.metrics.connections.inc();
        Some(Self { proxy: Arc::clone(proxy), group: None })
    }

    /// One of its address's; false if it has too many. A trusted proxy brings many clients over its own.
    pub(super) fn count(&mut self, peer: IpAddr) -> bool {
        if self.proxy.live.load().gate.trusted_proxies.contains(peer) {
            return true;
        }
        let group = AddrGroup::of(peer);
        let mut count = self.proxy.connections.by_address.entry(group).or_insert(0);
        if *count >= self.proxy.limits.connections_per_address {
            return false;
        }
        *count += 1;
        self.group = Some(group);
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connections = &self.proxy.connections;
        connections.open.fetch_sub(1, Ordering::Relaxed);
        self.proxy.metrics.connections.dec();
        if let Some(group) = self.group
            && let Entry::Occupied(mut entry) = connections.by_address.entry(group)
        {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// Turns a connection away, and says so where the client would understand: before anything was read, it may try again. Over
/// TLS the answer would cost a handshake, which is what there is no room for.
pub(super) async fn shed(proxy: &Proxy, listener: &Listener, mut stream: Socket, why: Shed) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    proxy.metrics.wire.shed(why);
    proxy.metrics.unreadable(Denial::Overloaded);
    if listener.tls.is_some() {
        return;
    }
    // SECURITY: these have no place, so only so many of them may wait.
    let Some(_slot) = Slot::take(&proxy.connections.turned_away, MOST_TOLD) else { return };
    let told = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await?;
        // A socket that is closed with something unread in it resets the connection, and the answer may be lost.
        let mut unread = (&mut stream).take(MOST_UNREAD as u64);
        tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
    };
    // Whether a client that is turned away hears it is its own affair.
    drop(timeout(TELLING, told).await);
}
