//! HTTP/2 from clients (RFC 9113). Each stream is a request like any other: it becomes what it would have been in HTTP/1.1, and
//! goes through the same judge, the same way to the CRM and the same record.
//!
//! hyper and h2 bound what one connection may hold. What they leave open is watched in [`streams`]: a connection without requests,
//! a client that asks and does not read, and one that takes back what it asked for, again and again.

mod streams;
pub(super) mod websocket;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::client_io::{ClientIo, Pace};
use super::connection::{Until, until};
use super::download::{Answer, DownloadBroke};
use super::greeting::Slot;
use super::peer::{Connected, Counted, Peer, Way};
use super::{Proxy, exchange};
use crate::config::Timeouts;
use crate::credential::api_key::DigestMemo;
use crate::denial::{Ambiguity, Denial};
use crate::metrics::Shed;
use streams::{Doom, Guard, Streams};
use websocket::Opened;

/// Requests at once over one connection.
const MOST_STREAMS: u32 = 100;
/// Bytes of a request body that a client may send ahead, per request and for all of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of an answer that wait for the client, per request.
const SEND_BUFFER: usize = 16 * 1024;
/// Requests that a client took back before they were looked at, waiting to be thrown away. More end the connection.
const MOST_UNSEEN_RESETS: usize = 20;
/// Malformed requests and other errors of a client's that reset a stream. More end the connection.
const MOST_ERRORS: usize = 200;

/// Serves one connection until it ends.
pub(super) async fn speak<S>(proxy: Arc<Proxy>, stream: S, ip: IpAddr, way: Way, timeouts: Arc<Timeouts>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let lifeline = proxy.lifelines.open();
    let streams = Streams::new();
    // Heads have no deadline of their own here: [`Streams`] has one for the connection.
    let pace = Pace::new(&proxy.clock, timeouts.request_head, timeouts.keep_alive);
    pace.busy(false);
    let io = TokioIo::new(ClientIo::new(stream, pace, timeouts.client_write_idle));
    let (memo, watched) = (Arc::<DigestMemo>::default(), Arc::clone(&streams));
    let patience = timeouts.client_write_idle;
    let service = {
        let proxy = Arc::clone(&proxy);
        let within = lifeline.line();
        service_fn(move |request: Request<Incoming>| {
            let mut peer = Peer::new(ip);
            peer.memo = Arc::clone(&memo);
            let lifeline = proxy.lifelines.open_within(&within);
            let slot = Slot::take(&proxy.connections.streams, proxy.limits.connections);
            let place = slot.map(Counted::Stream);
            let peer = Arc::new(Connected { peer, way: way.clone(), lifeline, place });
            answer(Arc::clone(&proxy), peer, Guard::new(&watched, patience), request)
        })
    };
    let connection = builder(&proxy).serve_connection(io, service);
    let mut connection = std::pin::pin!(connection);
    let mut draining = Some(&proxy.draining);
    loop {
        tokio::select! {
            ended = until(connection.as_mut(), &lifeline, draining) => match ended {
                Until::Ended(_) | Until::Cut => return,
                Until::Draining => {
                    connection.as_mut().graceful_shutdown();
                    draining = None;
                }
            },
            doom = streams.doom(&timeouts) => {
                if doom != Doom::Idle {
                    tracing::debug!(?doom, "an HTTP/2 connection was cut");
                    return proxy.metrics.unreadable(Denial::Overloaded);
                }
                connection.as_mut().graceful_shutdown();
                let goodbye = timeout(timeouts.request_head, until(connection.as_mut(), &lifeline, None)).await;
                // A request that was on its way meanwhile is still answered.
                if goodbye.is_ok() || !streams.are_open() {
                    return;
                }
            }
        }
    }
}

fn builder(proxy: &Proxy) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks::default());
    builder
        .enable_connect_protocol()
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(u32::try_from(proxy.limits.head).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(MOST_UNSEEN_RESETS)
        .max_local_error_reset_streams(MOST_ERRORS);
    builder
}

async fn answer(
    proxy: Arc<Proxy>,
    peer: Arc<Connected>,
    mut guard: Guard,
    request: Request<Incoming>,
) -> Result<Response<Streamed>, Infallible> {
    let (mut parts, body) = request.into_parts();
    let websocket = websocket::as_handshake(&mut parts);
    as_http1(&mut parts, !body.is_end_stream());
    let refusal = if peer.place.is_none() {
        Some((Denial::Overloaded, StatusCode::SERVICE_UNAVAILABLE))
    } else {
        // As hyper does with HTTP/1.1.
        (parts.headers.len() > proxy.limits.fields)
            .then_some((Denial::Ambiguous(Ambiguity::Syntax), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))
    };
    if let Some((denial, status)) = refusal {
        proxy.metrics.unreadable(denial);
        if peer.place.is_none() {
            proxy.metrics.wire.shed(Shed::Streams);
        }
        guard.done();
        let mut response = Response::new(Streamed { answer: Answer::Tunnelled, guard: Some(guard) });
        *response.status_mut() = status;
        if let Some(seconds) = denial.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        return Ok(response);
    }
    let mut response = match exchange::run(&proxy, &peer, None, Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if let Some(stay) = websocket
        && websocket::told(&mut response) == Opened::Tunnel
    {
        stay.keep(guard);
        return Ok(response.map(|answer| Streamed { answer, guard: None }));
    }
    if response.body().is_end_stream() {
        guard.done();
    }
    Ok(response.map(|answer| Streamed { answer, guard: Some(guard) }))
}

/// Makes a head what it would have been in HTTP/1.1 (RFC 9113 section 8.3.1), for the judge to judge: `:authority` becomes `Host`
/// and stays in the target, where it must equal any `Host` that was sent; a body of unknown length is a chunked one.
pub fn as_http1(parts: &mut Parts, has_body: bool) {
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    if !headers.contains_key(header::HOST)
        && let Some(authority) = parts.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        headers.insert(header::HOST, host);
    }
    // One that came with the request makes two, and two are refused.
    let sent = headers.contains_key(header::TRANSFER_ENCODING);
    if sent || has_body && !headers.contains_key(header::CONTENT_LENGTH) {
        headers.append(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    join_cookies(parts);
}

/// Cookies may come in crumbs, and go on as one field (RFC 9113 section 8.2.3).
fn join_cookies(parts: &mut Parts) {
    let crumbs: Vec<HeaderValue> = parts.headers.get_all(header::COOKIE).iter().cloned().collect();
    if crumbs.len() < 2 {
        return;
    }
    let joined = crumbs.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
    match HeaderValue::from_bytes(&joined) {
        Ok(cookie) => drop(parts.headers.insert(header::COOKIE, cookie)),
        // Made of values with a separator between: it is one.
        Err(_) => drop(parts.headers.remove(header::COOKIE)),
    }
}

/// The answer to one stream, watched.
struct Streamed {
    answer: Answer,
    /// None of a tunnel's, which holds it itself.
    guard: Option<Guard>,
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = DownloadBroke;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, DownloadBroke>>> {
        let me = &mut *self;
        if let Some(guard) = &me.guard {
            guard.asked();
        }
        let polled = Pin::new(&mut me.answer).poll_frame(cx);
        match (&polled, &mut me.guard) {
            (Poll::Ready(Some(Ok(frame))), Some(guard)) if !me.answer.is_end_stream() => {
                guard.given(frame.data_ref().map_or(0, Bytes::len));
            }
            // What breaks on our side is not the client's doing.
            (Poll::Ready(_), Some(guard)) => guard.done(),
            (_, _) => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

/// Where the streams of one connection run; dropped with it, and they with that.
#[derive(Clone, Default)]
struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let mut tasks = self.0.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(stream);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(build: http::request::Builder, has_body: bool) -> Parts {
        let (mut parts, ()) = build.version(Version::HTTP_2).body(()).unwrap().into_parts();
        as_http1(&mut parts, has_body);
        parts
    }

    #[test]
    fn a_head_becomes_what_it_would_have_been() {
        let request = || Request::post("https://crm.example/x");
        let parts = converted(request().header("cookie", "a=1").header("cookie", "b=2"), true);
        assert_eq!(parts.headers["host"], "crm.example");
        assert_eq!(parts.headers["transfer-encoding"], "chunked");
        assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
        assert_eq!(parts.version, Version::HTTP_11);
        let parts = converted(request().header("host", "other").header("content-length", "3"), true);
        assert_eq!(
            (&parts.headers["host"], parts.uri.host()),
            (&"other".parse().unwrap(), Some("crm.example"))
        );
        assert!(!parts.headers.contains_key("transfer-encoding"));
        let parts = converted(request().header("transfer-encoding", "chunked"), false);
        assert_eq!(parts.headers.get_all("transfer-encoding").iter().count(), 2);
    }
}
