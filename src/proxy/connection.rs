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
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use super::client_io::{ClientIo, Pace};
use super::greeting::{self, Greeted, Spoken};
use super::lifeline::Lifeline;
use super::peer::{Connected, Peer, Scheme, Way};
use super::proxy_protocol::Source;
use super::{Proxy, exchange, http2};
use crate::client_addr::AddrGroup;
use crate::config::{Listener, ProxyHeader, Timeouts};
use crate::denial::{Ambiguity, Denial};
use crate::tls::acceptor::Versions;

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

async fn serve(proxy: Arc<Proxy>, stream: Stream) {
    let Some((at, from)) = proxy.fronts.find(&stream) else { return };
    let (timeouts, listener) = {
        let live = proxy.live.load();
        let Some(listener) = live.fronts.get(at) else { return };
        (Arc::clone(&live.timeouts), Arc::clone(listener))
    };
    let Some(mut place) = Place::take(&proxy) else {
        return shed(&proxy, &listener, stream).await;
    };
    if !is_plain(&listener) {
        // Boxed: a connection that needs none of it must not be as large.
        return Box::pin(greet(proxy, stream, &listener, from, place, timeouts)).await;
    }
    if !place.count(from) {
        return shed(&proxy, &listener, stream).await;
    }
    speak_http1(proxy, stream, from, Way { scheme: Scheme::Http, certificate: None }, timeouts).await;
}

/// True where HTTP/1 begins with the first byte.
const fn is_plain(listener: &Listener) -> bool {
    listener.tls.is_none()
        && matches!((listener.versions, listener.proxy_header), (Versions::One, ProxyHeader::None))
}

/// A connection on which something comes before HTTP.
async fn greet(
    proxy: Arc<Proxy>,
    mut stream: Stream,
    listener: &Listener,
    from: IpAddr,
    mut place: Place,
    timeouts: Arc<Timeouts>,
) {
    let mut peer = from;
    if listener.proxy_header == ProxyHeader::Required {
        // SECURITY: whoever is not trusted could name any address.
        if !proxy.live.load().gate.trusted_proxies.contains(from) {
            return proxy.metrics.unreadable(Denial::AddressNotAllowed);
        }
        match greeting::source(&mut stream, timeouts.request_head).await {
            Some(Source::Client(client)) => peer = client,
            Some(Source::Sender) => {}
            None => return proxy.metrics.unreadable(Denial::Ambiguous(Ambiguity::Syntax)),
        }
    }
    if !place.count(peer) {
        return shed(&proxy, listener, stream).await;
    }
    let Some(Greeted { stream, way, spoken }) = greeting::open(stream, listener, &proxy, &timeouts).await
    else {
        return;
    };
    match spoken {
        Spoken::One => speak_http1(proxy, stream, peer, way, timeouts).await,
        Spoken::Two => http2::speak(proxy, stream, peer, way, timeouts).await,
    }
}

async fn speak_http1<S>(proxy: Arc<Proxy>, stream: S, peer: IpAddr, way: Way, timeouts: Arc<Timeouts>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = Arc::new(Connected { peer: Peer::new(peer), way, lifeline: proxy.lifelines.open() });
    let end_of_life = Arc::clone(&peer);
    let pace = Pace::new(&proxy.clock, timeouts.request_head, timeouts.keep_alive);
    let io = TokioIo::new(ClientIo::new(stream, Arc::clone(&pace), timeouts.client_write_idle));
    let service = {
        let (proxy, pace) = (Arc::clone(&proxy), Arc::clone(&pace));
        service_fn(move |request: http::Request<hyper::body::Incoming>| {
            pace.busy(!request.body().is_end_stream());
            let reply = exchange::run(&proxy, &peer, Some(Arc::clone(&pace)), request);
            if matches!(proxy.draining.has_changed(), Ok(false)) { reply } else { reply.last() }
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
            // Told to end now, hyper would close a connection whose request is on its way. The next answer will say that it is the last.
            if pace.is_busy() {
                connection.as_mut().graceful_shutdown();
            }
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
pub(super) enum Until<T> {
    /// It ended by itself.
    Ended(T),
    /// The key that it carried is over; whoever drops the connection closes it.
    Cut,
    /// The process began to drain.
    Draining,
}

/// Waits until `connection` ends, its lifeline is cut, or the process drains, if that is of interest.
pub(super) async fn until<T>(
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

/// Turns a connection away, and says so where the client would understand.
async fn shed(proxy: &Proxy, listener: &Listener, mut stream: Stream) {
    proxy.metrics.connections_shed.inc();
    proxy.metrics.unreadable(Denial::Overloaded);
    if listener.tls.is_none() {
        refuse(&mut stream).await;
    }
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
    /// One of all.
    fn take(proxy: &Arc<Proxy>) -> Option<Self> {
        let connections = &proxy.connections;
        if connections.open.fetch_add(1, Ordering::Relaxed) >= proxy.limits.connections {
            connections.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        proxy.metrics.connections.inc();
        Some(Self { proxy: Arc::clone(proxy), group: None })
    }

    /// One of its address's; false if it has too many. A trusted proxy brings many clients over its own.
    fn count(&mut self, peer: IpAddr) -> bool {
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
