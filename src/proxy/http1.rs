//! HTTP/1 with one client. Between requests the connection rests: hyper with its buffers, which are most of what a connection
//! takes, is let go, and a new one speaks from the next byte on.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http_body::Body;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::client_io::{ClientIo, Pace};
use super::connection::{Until, until};
use super::peer::{Connected, Counted, Peer, Way};
use super::places::Place;
use super::{Proxy, exchange};
use crate::config::Timeouts;
use crate::denial::{Ambiguity, Denial};

/// hyper's own limit lives on the stack; asking for it by number would allocate and fill per request.
const HYPERS_FIELDS: usize = 100;

/// How long a client may take to hear that the connection ends.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Serves a client until the connection ends.
pub(super) async fn speak<S>(
    (proxy, place): (Arc<Proxy>, Place),
    stream: S,
    peer: IpAddr,
    way: Way,
    timeouts: Arc<Timeouts>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lifeline = proxy.lifelines.open();
    // With its place, which a tunnel keeps when HTTP is over.
    let place = Some(Counted::Connection(place));
    let peer = Arc::new(Connected { peer: Peer::new(peer), way, lifeline, place });
    let pace = Pace::new(&proxy.clock, timeouts.request_head, timeouts.keep_alive);
    let mut io = ClientIo::new(stream, Arc::clone(&pace), timeouts.client_write_idle);
    drop(timeouts);
    while rest(&proxy, &peer, &mut io).await {
        // Boxed: a connection that rests must not be as large as one that speaks.
        match Box::pin(talk(&proxy, &peer, &pace, io)).await {
            Some(quiet) => io = quiet,
            None => return,
        }
    }
    // Whether the client hears that it is over is its own affair.
    drop(timeout(LAST_WORD, io.shutdown()).await);
}

/// Waits for a request; false if none comes. Also while the process drains: one that is on its way is answered, and told that it
/// is the last. The end of the process ends the wait.
async fn rest<S: AsyncRead + Unpin>(proxy: &Proxy, peer: &Connected, io: &mut ClientIo<S>) -> bool {
    let _counted = Idle::new(proxy);
    let waiting = pin!(poll_fn(|cx| io.poll_first_bytes(cx)));
    matches!(until(waiting, &peer.lifeline, None).await, Until::Ended(true))
}

/// A connection that waits for a request, while it does.
struct Idle<'a>(&'a Proxy);

impl<'a> Idle<'a> {
    fn new(proxy: &'a Proxy) -> Self {
        proxy.metrics.idle_connections.inc();
        Self(proxy)
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.metrics.idle_connections.dec();
    }
}

/// Answers requests until the connection falls quiet, or else to its end.
async fn talk<S>(
    proxy: &Arc<Proxy>,
    peer: &Arc<Connected>,
    pace: &Arc<Pace>,
    io: ClientIo<S>,
) -> Option<ClientIo<S>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let is_last = *proxy.draining.borrow();
    let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
        pace.busy(!request.body().is_end_stream());
        exchange::run(proxy, peer, Some(pace), request)
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .half_close(false)
        .keep_alive(!is_last)
        .header_read_timeout(None)
        .max_header_size(proxy.limits.head)
        .max_buf_size(proxy.limits.head.max(64 * 1024));
    if proxy.limits.fields != HYPERS_FIELDS {
        builder.max_headers(proxy.limits.fields);
    }
    let mut connection = builder.serve_connection(TokioIo::new(io), service).with_upgrades();
    let mut speaking = pin!(poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
        Poll::Pending if pace.is_quiet() => Poll::Ready(None),
        Poll::Pending if !is_last && pace.is_last() && pace.is_between() => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
        Poll::Ready(ended) => Poll::Ready(Some(ended)),
    }));
    let draining = (!is_last).then_some(&proxy.draining);
    let mut until_now = until(speaking.as_mut(), &peer.lifeline, draining).await;
    if matches!(until_now, Until::Draining) {
        // Not told to hyper: it would close, without having said so, where the head of an answer went out already.
        pace.end();
        until_now = until(speaking, &peer.lifeline, None).await;
    }
    let ended = match until_now {
        Until::Cut | Until::Draining => return None,
        Until::Ended(ended) => ended,
    };
    let Some(ended) = ended else {
        let parts = connection.into_parts()?;
        let mut io = parts.io.into_inner();
        io.put_back(&parts.read_buf);
        return Some(io);
    };
    if ended.is_err_and(|error| error.is_parse()) {
        proxy.metrics.unreadable(Denial::Ambiguous(Ambiguity::Syntax));
    }
    None
}
