//! One request from its complete head to the start of its answer: judge, forward, answer.

use std::convert::Infallible;
use std::sync::Arc;

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
use super::unread::{self, Unread};
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
use crate::request_head::own_fields::OwnFields;

/// Tells a caller when the secret that it presents stops working (RFC 8594).
const SUNSET: HeaderName = HeaderName::from_static("sunset");

/// What becomes of a request whose head was judged.
#[expect(
    clippy::large_enum_variant,
    reason = "most requests go to the CRM, and a box costs each of them an allocation"
)]
enum Next {
    /// Nothing more.
    Answered(Response<Answer>),
    /// Its body is still to come. Boxed, like the next.
    Refused(Box<Unread>),
    /// Its body decides. Boxed: it is seldom needed, and would make every request's future large.
    Held(Box<Holding>, Box<Record>),
    /// It goes to the CRM.
    Goes(Going, Box<Record>),
}

/// Answers one request.
///
/// # Errors
/// Never.
#[expect(clippy::manual_async_fn, reason = "an `async fn` keeps what it is given twice")]
pub fn run<'a>(
    proxy: &'a Arc<Proxy>,
    peer: &'a Arc<Connected>,
    pace: Option<&'a Arc<Pace>>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Answer>, Infallible>> + Send + 'a {
    async move {
        let mut response = match judge(proxy, peer, pace.cloned(), request) {
            Next::Answered(response) => response,
            Next::Refused(unread) => match pace {
                Some(pace) => Box::pin(unread.answer(pace)).await,
                None => unread.response,
            },
            Next::Held(holding, record) => Box::pin(holding.answer(record)).await,
            Next::Goes(mut going, record) => going.answer(record).await,
        };
        if pace.is_some_and(|pace| pace.is_last()) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}

fn judge(
    proxy: &Arc<Proxy>,
    peer: &Arc<Connected>,
    pace: Option<Arc<Pace>>,
    request: Request<Incoming>,
) -> Next {
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
    let judged = match judged {
        Ok(_) if is_over(proxy, &live, &record) => Err(Denial::CredentialRevoked),
        judged => judged,
    };
    let going = match judged {
        Err(denial) if body.is_end_stream() => Err(denial),
        Err(denial) => {
            let waits_to_be_asked = parts.headers.contains_key(header::EXPECT);
            let response = respond::refuse(record, denial);
            return Next::Refused(Box::new(Unread { response, body, waits_to_be_asked }));
        }
        Ok(Judged::Unproved(unproved)) => {
            let (live, peer) = (Arc::clone(&live), Arc::clone(peer));
            return Next::Held(Box::new(Holding { unproved: *unproved, live, peer, parts, body }), record);
        }
        Ok(Judged::Admitted(mut admitted)) => {
            record.set_scope(admitted.scope().cloned());
            upload(&live, body, &record.trail)
                .and_then(|upload| forward(&live, &mut admitted, parts, upload, peer, &mut record))
        }
    };
    match going {
        Err(denial) => Next::Answered(respond::refuse(record, denial)),
        Ok(going) => Next::Goes(going, record),
    }
}

/// True if the key was revoked while the request was judged: the connections that carried the key were looked for, and this one
/// did not yet.
fn is_over(proxy: &Proxy, judged_by: &Arc<Live>, record: &Record) -> bool {
    let live = proxy.live.load();
    !Arc::ptr_eq(&live, judged_by)
        && record
            .trail
            .digest()
            .is_some_and(|digest| live.gate.keys.prove(&digest, proxy.clock.wall()).is_err())
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
            Err(denial) => {
                let mut response = respond::refuse(record, denial);
                unread::ends(&mut response);
                return response;
            }
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
            Ok(mut going) => going.answer(record).await,
        }
    }
}

/// A request that may go to the CRM, as it will be sent.
struct Going {
    /// There until it is sent.
    request: Option<Request<Upload>>,
    own: OwnFields,
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
    if record.trail.webhook.is_some() || matches!(body, Upload::Held(_)) {
        // None will come.
        parts.headers.remove(header::TRAILER);
    }
    let id = record.request_id.header_value();
    let own = forward::request(&mut parts, admitted, &record.trail, (peer, scheme), &id, &live.upstream);
    if let Some(handshake) = &handshake {
        handshake.ask(&mut parts.headers);
    }
    if let Some(upload) = &upload {
        record.set_upload(Arc::clone(upload));
    }
    Ok(Going {
        request: Some(Request::from_parts(parts, body)),
        own,
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
    async fn answer_whoever_waits(mut self, record: Box<Record>) -> Response<Answer> {
        tokio::spawn(async move { self.answer(record).await }).await.unwrap_or_else(|_| {
            let mut answer = Response::new(Answer::Tunnelled);
            *answer.status_mut() = StatusCode::BAD_GATEWAY;
            answer
        })
    }

    /// Once.
    async fn answer(&mut self, mut record: Box<Record>) -> Response<Answer> {
        let sent = record.proxy().clock.monotonic();
        let own = (&mut self.request, &self.own);
        match self.upstream.send(own, self.upload.take(), &self.timeouts, sent).await {
            Err(denial) => {
                if let Some(unsent) = self.request.take().filter(|_| record.is_unread()) {
                    // Boxed, like all that is seldom needed. What is read to its end is noted by the upload itself.
                    Box::pin(unread::read_off(unsent.into_body())).await;
                }
                respond::refuse(record, denial)
            }
            Ok((response, mut lease)) => {
                record.upstream_answered(sent);
                lease.release_unfinished(self.timeouts.upstream_body_idle);
                if response.status().is_success() {
                    if let Some(claim) = self.claim.take() {
                        claim.done();
                    }
                    if let Some(reply) = own_reply(&record) {
                        return respond::delivery(record, reply.0, &reply.1, reply.2);
                    }
                }
                let id = std::mem::replace(&mut self.id, HeaderValue::from_static(""));
                match self.hidden.take() {
                    // Boxed: it is seldom needed, and would make every request's future large.
                    Some(hidden) => {
                        let timeouts = Arc::clone(&self.timeouts);
                        let showing = Showing { hidden, lease, timeouts, id, record };
                        Box::pin(showing.answer(response)).await
                    }
                    None => answer(response, lease, self.handshake.take(), &self.timeouts, id, record),
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
