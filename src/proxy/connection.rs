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
use super::lifeline::Lifeline;
use super::peer::{Connected, Peer};
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
    let peer = Arc::new(Connected { peer: Peer::new(peer), lifeline: proxy.lifelines.open() });
    let end_of_life = Arc::clone(&peer);
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
    let ended = match until(connection.as_mut(), &end_of_life.lifeline, Some(&proxy.draining)).await {
        Until::Draining => {
            connection.as_mut().graceful_shutdown();
            until(connection, &end_of_life.lifeline, None).await
        }
        ended @ (Until::Ended(_) | Until::Cut) => ended,
    };
    if let Until::Ended(Err(error)) = ended
        && error.is_parse()
    {
        proxy.metrics.unreadable(Denial::Ambiguous(Ambiguity::Syntax));
    }
}

/// What became of a connection.
enum Until<T> {
    /// It ended by itself.
    Ended(T),
    /// The key that it carried is over; whoever drops the connection closes it.
    Cut,
    /// The process began to drain.
    Draining,
}

async fn until<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    lifeline: &Lifeline,
    draining: Option<&watch::Receiver<bool>>,
) -> Until<T> {
    let (mut waiting, news) = (draining.cloned(), draining.cloned());
    let mut drain = std::pin::pin!(async move {
        match &mut waiting {
            Some(waiting) => drop(waiting.wait_for(|draining| *draining).await),
            None => std::future::pending().await,
        }
    });
    let mut asked = false;
    std::future::poll_fn(move |cx| {
        if lifeline.is_cut() {
            return Poll::Ready(Until::Cut);
        }
        if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
            return Poll::Ready(Until::Ended(ended));
        }
        // Asked once, both wake this task; asking again each time would cost every request.
        let drains = news.as_ref().is_some_and(|news| !matches!(news.has_changed(), Ok(false)));
        if !asked || drains {
            asked = true;
            if lifeline.poll_cut(cx).is_ready() {
                return Poll::Ready(Until::Cut);
            }
            return drain.as_mut().poll(cx).map(|()| Until::Draining);
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
