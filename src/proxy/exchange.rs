//! One request from its complete head to the start of its answer: judge, forward, answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;

use super::client_io::Pace;
use super::download::Answer;
use super::forward::{self, Content};
use super::held::{Fit, Held};
use super::hiding::Showing;
use super::peer::{Connected, Scheme};
use super::record::Record;
use super::upload::{Trailers, Upload, UploadState};
use super::upstream::{Lease, Upstream};
use super::{Live, Proxy, respond, tunnel};
use crate::client_addr::{AddrGroup, ClientAddr};
use crate::clock::WallTime;
use crate::config::Timeouts;
use crate::denial::Denial;
use crate::gate::{Admitted, Judged, Settled, Trail, Unproved};
use crate::limits::deliveries::Claim;
use crate::policy::blank::Hidden;

/// Tells a caller when the secret that it presents stops working (RFC 8594).
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// The answer to one request: a refusal at once, or what the CRM says in its time.
pub enum Reply {
    /// At once; taken when polled.
    Now(Option<Response<Answer>>),
    /// When it comes.
    Later(Pin<Box<dyn Future<Output = Response<Answer>> + Send>>),
    /// One of these, the last one of its connection, which says so.
    Last(Box<Self>),
}

impl Reply {
    /// The connection ends with it.
    pub fn last(self) -> Self {
        Self::Last(Box::new(self))
    }
}

impl Future for Reply {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Now(answer) => answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            Self::Later(answer) => answer.as_mut().poll(cx).map(Ok),
            Self::Last(answer) => Pin::new(&mut **answer).poll(cx).map_ok(|mut answer| {
                if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                answer
            }),
        }
    }
}

/// Answers one request.
pub fn run(
    proxy: &Arc<Proxy>,
    peer: &Arc<Connected>,
    pace: Option<Arc<Pace>>,
    request: Request<Incoming>,
) -> Reply {
    let (parts, body) = request.into_parts();
    let live = proxy.live.load();
    let trail =
        Trail::new(Arc::clone(&live.gate.nowhere), Arc::clone(&peer.memo), peer.way.certificate.clone());
    let started = proxy.clock.now();
    let mut record = Record::new(proxy, pace, Arc::clone(peer), started, trail, parts.method.clone());
    let judged = live.gate.judge(&parts, peer.ip, started, &proxy.failures, &mut record.trail);
    record.trail.path_is_secret |=
        judged.is_err() && live.gate.path_may_be_secret(parts.uri.path(), &parts.headers);
    record.set_path(&parts.uri);
    peer.lifeline.carry(judged.as_ref().ok().and_then(|_| record.trail.digest()));
    let judged = judged.and_then(|judged| still_good(proxy, &live, &record, judged));
    let going = match judged {
        Err(denial) => Err(denial),
        Ok(Judged::Unproved(unproved)) => {
            let (live, peer) = (Arc::clone(&live), Arc::clone(peer));
            let holding = Holding { unproved: *unproved, live, peer, parts, body };
            return Reply::Later(Box::pin(holding.answer(record)));
        }
        Ok(Judged::Admitted(mut admitted)) => {
            record.set_scope(admitted.scope().cloned());
            upload(&live, body, &record.trail)
                .and_then(|upload| forward(&live, &mut admitted, parts, upload, peer, &mut record))
        }
    };
    match going {
        Err(denial) => Reply::Now(Some(respond::refuse(record, denial))),
        Ok(going) => Reply::Later(Box::pin(going.answer(record))),
    }
}

/// Refuses a request whose key was revoked while it was judged: the connections that carried the key were looked for, and
/// this one did not yet.
fn still_good(
    proxy: &Proxy,
    judged_by: &Arc<Live>,
    record: &Record,
    judged: Judged,
) -> Result<Judged, Denial> {
    let live = proxy.live.load();
    if Arc::ptr_eq(&live, judged_by) {
        return Ok(judged);
    }
    match record.trail.digest().map(|digest| live.gate.keys.prove(&digest, proxy.clock.wall()).is_ok()) {
        Some(true) | None => Ok(judged),
        Some(false) => Err(Denial::CredentialRevoked),
    }
}

/// A body and what is known of its way.
type Uploading = (Upload, Option<Arc<UploadState>>);

/// A body that streams to the CRM.
fn upload(live: &Live, body: Incoming, trail: &Trail) -> Result<Uploading, Denial> {
    if body.size_hint().exact().is_some_and(|length| length > live.body_limit) {
        return Err(Denial::BodyTooLarge);
    }
    let trailers = if trail.webhook.is_some() { Trailers::Dropped } else { Trailers::Forwarded };
    Ok(Upload::new(body, live.body_limit, live.timeouts.request_body_idle, trailers))
}

/// A request whose body is held until it is judged.
struct Holding {
    unproved: Unproved,
    live: Arc<Live>,
    peer: Arc<Connected>,
    parts: Parts,
    body: Incoming,
}

impl Holding {
    async fn answer(self, mut record: Box<Record>) -> Response<Answer> {
        let Self { unproved, live, peer, parts, body } = self;
        let limit = unproved.body_limit();
        let proxy = Arc::clone(record.proxy());
        let group = record.trail.client.map_or_else(|| AddrGroup::of(peer.ip), ClientAddr::group);
        let room = (&proxy.room, group);
        let fit = if unproved.may_go_unread() {
            Held::read_if_it_fits(body, (limit, live.body_limit), &live.timeouts, room).await
        } else {
            Held::read(body, limit, &live.timeouts, room).await.map(Fit::Whole)
        };
        if let Some(state) = fit.as_ref().ok().and_then(Fit::state) {
            record.set_upload(Arc::clone(state));
        }
        // Asked of the gate of this moment: what was live when the body began may have ended since.
        drop(live);
        let live = proxy.live.load_full();
        let now = proxy.clock.now();
        let (settled, uploading) = match fit {
            Err(denial) => return respond::refuse(record, denial),
            Ok(Fit::Whole(held)) => {
                let (failures, trail) = (&proxy.failures, &mut record.trail);
                (live.gate.settle(unproved, &parts, &held.bytes, now, failures, trail), held.into_upload())
            }
            Ok(Fit::Unfinished(upload, state)) => {
                (live.gate.settle_unread(unproved, &parts, now, &mut record.trail), (upload, state))
            }
        };
        record.trail.path_is_secret |=
            settled.is_err() && live.gate.path_may_be_secret(parts.uri.path(), &parts.headers);
        let going = match settled {
            Err(denial) => Err(denial),
            Ok(Settled::Answer(answer)) => {
                let kind = HeaderValue::from_static(answer.content_type);
                return respond::delivery(record, answer.status, &kind, answer.body);
            }
            Ok(Settled::Ignored) => return respond::fine(record),
            Ok(Settled::Forward(mut admitted)) => {
                record.set_scope(admitted.scope().cloned());
                forward(&live, &mut admitted, parts, uploading, &peer, &mut record)
            }
        };
        drop(live);
        match going {
            Err(denial) => respond::refuse(record, denial),
            Ok(going) if going.claim.is_some() => going.answer_whoever_waits(record).await,
            Ok(going) => going.answer(record).await,
        }
    }
}

/// A request that may go to the CRM, as it will be sent.
struct Going {
    request: Request<Upload>,
    upload: Option<Arc<UploadState>>,
    upstream: Arc<Upstream>,
    timeouts: Arc<Timeouts>,
    handshake: Option<tunnel::Handshake>,
    claim: Option<Claim>,
    hidden: Option<Hidden>,
    id: HeaderValue,
}

fn forward(
    live: &Live,
    admitted: &mut Admitted,
    mut parts: Parts,
    (body, upload): Uploading,
    peer: &Connected,
    record: &mut Record,
) -> Result<Going, Denial> {
    let scheme = Scheme::find(&parts.headers, live.gate.trusted_proxies.contains(peer.ip), peer.way.scheme);
    let handshake = if admitted.wants_upgrade() { tunnel::Handshake::find(&mut parts)? } else { None };
    let id = record.request_id.header_value();
    forward::request(&mut parts, admitted, &record.trail, (peer, scheme), &id, &live.upstream);
    if let Some(handshake) = &handshake {
        handshake.ask(&mut parts.headers);
    }
    if let Some(upload) = &upload {
        record.set_upload(Arc::clone(upload));
    }
    Ok(Going {
        request: Request::from_parts(parts, body),
        upload,
        upstream: Arc::clone(&live.upstream),
        timeouts: Arc::clone(&live.timeouts),
        handshake,
        claim: admitted.take_claim(),
        hidden: admitted.take_hidden(),
        id,
    })
}

impl Going {
    /// Like [`Self::answer`], but to the end also if the sender hangs up: it will come again, and must find its delivery
    /// remembered if the CRM took it.
    async fn answer_whoever_waits(self, record: Box<Record>) -> Response<Answer> {
        tokio::spawn(self.answer(record)).await.unwrap_or_else(|_| {
            let mut answer = Response::new(Answer::Tunnelled);
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        })
    }

    async fn answer(self, mut record: Box<Record>) -> Response<Answer> {
        let Self { request, upload, upstream, timeouts, handshake, claim, hidden, id } = self;
        let sent = record.proxy().clock.monotonic();
        match upstream.send(request, upload, &timeouts, sent).await {
            Err(denial) => respond::refuse(record, denial),
            Ok((response, mut lease)) => {
                record.upstream_answered(sent);
                lease.release_unfinished();
                if response.status().is_success() {
                    if let Some(claim) = claim {
                        claim.done();
                    }
                    if let Some(reply) = own_reply(&record) {
                        return respond::delivery(record, reply.0, &reply.1, reply.2);
                    }
                }
                match hidden {
                    // Boxed: it is seldom needed, and would make every request's future large.
                    Some(hidden) => {
                        let showing = Showing { hidden, lease, timeouts, id, record };
                        Box::pin(showing.answer(response)).await
                    }
                    None => answer(response, lease, handshake, &timeouts, id, record),
                }
            }
        }
    }
}

/// What the sender of a delivery needs to hear instead of the CRM's own words.
fn own_reply(record: &Record) -> Option<(StatusCode, HeaderValue, Vec<u8>)> {
    let reply = record.trail.webhook.as_ref()?.sender.reply()?;
    Some((reply.status, HeaderValue::from_str(&reply.content_type).ok()?, reply.body.as_bytes().to_vec()))
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
    tell_sunset(response.headers_mut(), &record);
    let idle = match forward::response(response.headers_mut(), id) {
        Ok(Content::Events) => timeouts.stream_idle,
        Ok(Content::Other) => timeouts.upstream_body_idle,
        Err(denial) => return respond::refuse(record, denial),
    };
    record.answered(response.status(), None);
    response.map(|body| Answer::streaming(body, record, lease, idle))
}

pub(super) fn tell_sunset(headers: &mut HeaderMap, record: &Record) {
    if let Some(date) = record.trail.sunset().and_then(WallTime::http_date) {
        forward::insert(headers, SUNSET, &date);
    }
}
