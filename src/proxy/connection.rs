//! One client connection: counted, bounded, served until it ends or the process drains.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use async_trait::async_trait;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http_body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::Stream;
use pingora_core::server::ShutdownWatch;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::client_io::{ClientIo, Pace};
use super::peer::Peer;
use super::{Proxy, exchange};
use crate::client_addr::AddrGroup;
use crate::denial::{Ambiguity, Denial};

/// Open client connections, in all and per address. The map holds one entry per connected address, so the limit on
/// connections bounds it.
#[derive(Debug, Default)]
pub struct Connections {
    open: AtomicUsize,
    by_address: DashMap<AddrGroup, usize>,
}

/// One counted connection; dropping it counts it out.
#[derive(Debug)]
struct Place {
    proxy: Arc<Proxy>,
    group: Option<AddrGroup>,
}

/// pingora's application: each accepted stream becomes one hyper connection.
#[derive(Clone, Debug)]
pub struct Accept(pub Arc<Proxy>);

#[async_trait]
impl ServerApp for Accept {
    async fn process_new(self: &Arc<Self>, stream: Stream, _shutdown: &ShutdownWatch) -> Option<Stream> {
        serve(Arc::clone(&self.0), stream).await;
        None
    }
}

/// hyper's own limit lives on the stack; asking for it by number would allocate and fill per request.
const HYPERS_FIELDS: usize = 100;

async fn serve(proxy: Arc<Proxy>, mut stream: Stream) {
    let Some(peer) = peer_of(&stream) else { return };
    let timeouts = Arc::clone(&proxy.live.load().timeouts);
    let Some(_place) = Place::take(&proxy, peer) else {
        proxy.metrics.connections_shed.inc();
        proxy.metrics.unreadable(Denial::Overloaded);
        refuse(&mut stream).await;
        return;
    };
    let peer = Arc::new(Peer::new(peer));
    let pace = Pace::new(&proxy.clock, timeouts.request_head, timeouts.keep_alive);
    let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&pace), timeouts.client_write_idle));
    let service = {
        let proxy = Arc::clone(&proxy);
        service_fn(move |request: http::Request<hyper::body::Incoming>| {
            pace.busy(!request.body().is_end_stream());
            exchange::run(&proxy, &peer, Arc::clone(&pace), request)
        })
    };
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .half_close(false)
        .header_read_timeout(None)
        .max_header_size(proxy.limits.head)
        .max_buf_size(proxy.limits.head.max(64 * 1024));
    if proxy.limits.fields != HYPERS_FIELDS {
        builder.max_headers(proxy.limits.fields);
    }
    let connection = builder.serve_connection(io, service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = match until_draining(connection.as_mut(), &proxy.draining).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended
        && error.is_parse()
    {
        proxy.metrics.unreadable(Denial::Ambiguous(Ambiguity::Syntax));
    }
}

/// What `connection` ended with; `None` if the process began to drain before.
async fn until_draining<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    draining: &watch::Receiver<bool>,
) -> Option<T> {
    let (mut waiting, news) = (draining.clone(), draining.clone());
    let mut drain = std::pin::pin!(async move { drop(waiting.wait_for(|draining| *draining).await) });
    let mut asked = false;
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(ended));
        }
        // Asked once, it wakes this task; asking again each time would cost every request.
        if !asked || !matches!(news.has_changed(), Ok(false)) {
            asked = true;
            return drain.as_mut().poll(cx).map(|()| None);
        }
        Poll::Pending
    })
    .await
}

fn peer_of(stream: &Stream) -> Option<IpAddr> {
    let digest = stream.get_socket_digest()?;
    Some(digest.peer_addr()?.as_inet()?.ip().to_canonical())
}

/// Told before anything was read: the client may try again.
async fn refuse(stream: &mut Stream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let told = async {
        stream.write_all(ANSWER).await?;
        stream.shutdown().await
    };
    // Whether a client that is turned away hears it is its own affair.
    drop(tokio::time::timeout(std::time::Duration::from_secs(1), told).await);
}

impl Place {
    fn take(proxy: &Arc<Proxy>, peer: IpAddr) -> Option<Self> {
        let connections = &proxy.connections;
        if connections.open.fetch_add(1, Ordering::Relaxed) >= proxy.limits.connections {
            connections.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        proxy.metrics.connections.inc();
        // A trusted proxy brings many clients over its own address.
        let trusted = proxy.live.load().gate.trusted_proxies.contains(peer);
        let mut place = Self { proxy: Arc::clone(proxy), group: None };
        if !trusted {
            let group = AddrGroup::of(peer);
            let mut count = connections.by_address.entry(group).or_insert(0);
            if *count >= proxy.limits.connections_per_address {
                drop(count);
                return None;
            }
            *count += 1;
            place.group = Some(group);
        }
        Some(place)
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
