//! One request from its complete head to the start of its answer: judge, forward, answer.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use hyper::body::Incoming;

use super::client_io::Pace;
use super::download::Answer;
use super::forward::{self, Content};
use super::peer::{Peer, Scheme};
use super::record::Record;
use super::upload::{Upload, UploadState};
use super::upstream::{Lease, Upstream};
use super::{Live, Proxy, respond, tunnel};
use crate::clock::Now;
use crate::config::Timeouts;
use crate::denial::Denial;
use crate::gate::{Admitted, Trail};

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
    let judged = judge(&live, proxy, &parts, &body, peer.ip, started, &mut record);
    match judged.and_then(|admitted| forward(&live, &admitted, parts, body, peer, &mut record)) {
        Err(denial) => Reply::Now(Some(respond::refuse(record, denial))),
        Ok(going) => Reply::Later(Box::pin(going.answer(record))),
    }
}

fn judge(
    live: &Live,
    proxy: &Proxy,
    parts: &Parts,
    body: &Incoming,
    peer: IpAddr,
    now: Now,
    record: &mut Record,
) -> Result<Admitted, Denial> {
    let judged = live.gate.judge(parts, peer, now, &proxy.failures, &mut record.trail);
    record.trail.path_is_secret |=
        judged.is_err() && live.gate.path_may_be_secret(parts.uri.path(), &parts.headers);
    record.set_path(&parts.uri);
    let admitted = judged?;
    record.set_scope(admitted.scope().cloned());
    if body.size_hint().exact().is_some_and(|length| length > live.body_limit) {
        return Err(Denial::BodyTooLarge);
    }
    Ok(admitted)
}

/// A request that may go to the CRM, as it will be sent.
struct Going {
    request: Request<Upload>,
    upload: Option<Arc<UploadState>>,
    upstream: Arc<Upstream>,
    timeouts: Arc<Timeouts>,
    handshake: Option<tunnel::Handshake>,
    id: HeaderValue,
}

fn forward(
    live: &Live,
    admitted: &Admitted,
    mut parts: Parts,
    body: Incoming,
    peer: &Peer,
    record: &mut Record,
) -> Result<Going, Denial> {
    let scheme = Scheme::find(&parts.headers, live.gate.trusted_proxies.contains(peer.ip));
    let handshake = if admitted.wants_upgrade() { tunnel::Handshake::find(&mut parts)? } else { None };
    let id = record.request_id.header_value();
    forward::request(&mut parts, admitted, &record.trail, (peer, scheme), &id, &live.upstream);
    if let Some(handshake) = &handshake {
        handshake.ask(&mut parts.headers);
    }
    let (body, upload) = Upload::new(body, live.body_limit, live.timeouts.request_body_idle);
    if let Some(upload) = &upload {
        record.set_upload(Arc::clone(upload));
    }
    Ok(Going {
        request: Request::from_parts(parts, body),
        upload,
        upstream: Arc::clone(&live.upstream),
        timeouts: Arc::clone(&live.timeouts),
        handshake,
        id,
    })
}

impl Going {
    async fn answer(self, mut record: Box<Record>) -> Response<Answer> {
        let Self { request, upload, upstream, timeouts, handshake, id } = self;
        let sent = record.proxy().clock.monotonic();
        match upstream.send(request, upload, &timeouts, sent).await {
            Err(denial) => respond::refuse(record, denial),
            Ok((response, lease)) => {
                record.upstream_answered(sent);
                answer(response, lease, handshake, &timeouts, id, record)
            }
        }
    }
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
    let idle = match forward::response(response.headers_mut(), id) {
        Content::Events => timeouts.stream_idle,
        Content::Other => timeouts.upstream_body_idle,
    };
    record.answered(response.status(), None);
    response.map(|body| Answer::streaming(body, record, lease, idle))
}
