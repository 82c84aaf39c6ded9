//! One request from its complete head to the start of its answer: judge, forward, answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::client_io::Pace;
use super::download::Answer;
use super::forward;
use super::peer::{Peer, Scheme};
use super::record::Record;
use super::upload::Upload;
use super::upstream::{Lease, Upstream};
use super::{Live, Proxy, respond, tunnel};
use crate::clock::Now;
use crate::config::Timeouts;
use crate::denial::Denial;
use crate::gate::{Admitted, Trail};

/// What the current snapshot decided, and what is needed to carry it out.
struct Verdict {
    admitted: Admitted,
    upstream: Arc<Upstream>,
    timeouts: Arc<Timeouts>,
    body_limit: u64,
    scheme: Scheme,
}

/// The answer to one request: a refusal at once, or what the CRM says in its time.
pub enum Reply {
    /// At once; taken when polled.
    Now(Option<Response<Answer>>),
    /// When it comes.
    Later(Pin<Box<dyn Future<Output = Response<Answer>> + Send>>),
}

impl Future for Reply {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(answer) => answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            Self::Later(answer) => answer.as_mut().poll(cx).map(Ok),
        }
    }
}

/// Answers one request.
pub fn run(proxy: &Arc<Proxy>, peer: &Arc<Peer>, pace: Arc<Pace>, request: Request<Incoming>) -> Reply {
    let (parts, body) = request.into_parts();
    let live = proxy.live.load();
    let trail = Trail::new(Arc::clone(&live.gate.nowhere), Arc::clone(&peer.memo));
    let started = proxy.clock.now();
    let mut record = Record::new(proxy, pace, Arc::clone(peer), started, trail, parts.method.clone());
    match judge(&live, proxy, &parts, peer.ip, started, &mut record) {
        Err(denial) => Reply::Now(Some(respond::refuse(record, denial))),
        Ok(verdict) => forward(verdict, parts, body, peer, record),
    }
}

fn judge(
    live: &Live,
    proxy: &Proxy,
    parts: &Parts,
    peer: IpAddr,
    now: Now,
    record: &mut Record,
) -> Result<Verdict, Denial> {
    let judged = live.gate.judge(parts, peer, now, &proxy.failures, &mut record.trail);
    let path = parts.uri.path();
    record.trail.path_is_secret |= judged.is_err() && live.gate.path_may_be_secret(path, &parts.headers);
    record.set_path(path);
    let admitted = judged?;
    record.set_scope(admitted.scope().map(crate::policy::scope::ScopeName::as_str));
    if declared_length(parts).is_some_and(|length| length > live.body_limit) {
        return Err(Denial::BodyTooLarge);
    }
    Ok(Verdict {
        admitted,
        upstream: Arc::clone(&live.upstream),
        timeouts: Arc::clone(&live.timeouts),
        body_limit: live.body_limit,
        scheme: Scheme::find(&parts.headers, live.gate.trusted_proxies.contains(peer)),
    })
}

fn declared_length(parts: &Parts) -> Option<u64> {
    parts.headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn forward(
    verdict: Verdict,
    mut parts: Parts,
    body: Incoming,
    peer: &Peer,
    mut record: Box<Record>,
) -> Reply {
    let Verdict { admitted, upstream, timeouts, body_limit, scheme } = verdict;
    let handshake = if admitted.wants_upgrade() {
        match tunnel::Handshake::find(&mut parts) {
            Ok(handshake) => handshake,
            Err(denial) => return Reply::Now(Some(respond::refuse(record, denial))),
        }
    } else {
        None
    };
    let id = record.request_id.header_value();
    forward::request(&mut parts, &admitted, &record.trail, (peer, scheme), &id, &upstream);
    if let Some(handshake) = &handshake {
        handshake.ask(&mut parts.headers);
    }
    let (upload, state) = Upload::new(body, body_limit, timeouts.request_body_idle);
    if let Some(state) = &state {
        record.set_upload(Arc::clone(state));
    }
    let request = Request::from_parts(parts, upload);
    Reply::Later(Box::pin(async move {
        let sent = record.proxy().clock.monotonic();
        match upstream.send(request, state, &timeouts).await {
            Err(denial) => respond::refuse(record, denial),
            Ok((response, lease)) => {
                record.upstream_answered(sent);
                answer(response, lease, handshake, &timeouts, id, record)
            }
        }
    }))
}

fn answer(
    mut response: Response<Incoming>,
    lease: Lease,
    handshake: Option<tunnel::Handshake>,
    timeouts: &Timeouts,
    id: HeaderValue,
    mut record: Box<Record>,
) -> Response<Answer> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match handshake.filter(|handshake| handshake.is_accepted_by(response.headers())) {
            Some(handshake) => handshake.open(response, lease, timeouts.stream_idle, record),
            None => respond::refuse(record, Denial::UpstreamBroken),
        };
    }
    forward::response(response.headers_mut(), id);
    record.answered(response.status(), None);
    let is_stream = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..17))
        .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
    let idle = if is_stream { timeouts.stream_idle } else { timeouts.upstream_body_idle };
    response.map(|body| Answer::streaming(body, record, lease, idle))
}
