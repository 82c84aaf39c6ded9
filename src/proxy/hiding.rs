//! A reply with fields that its reader must not see: held until it is whole, read strictly, and shown without them. What
//! cannot be read is not shown at all.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::download::Answer;
use super::exchange::tell_sunset;
use super::held::Store;
use super::record::Record;
use super::upstream::Lease;
use super::{forward, respond};
use crate::client_addr::{AddrGroup, ClientAddr};
use crate::config::Timeouts;
use crate::credential::webhook::json::JsonError;
use crate::denial::{Denial, ReplyFault};
use crate::policy::blank::Hidden;
use crate::policy::blanking;

/// Fields that are about the bytes of the CRM's own text, which are not the ones that are shown.
const OF_THE_WHOLE: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::ETAG,
    header::ACCEPT_RANGES,
    header::CONTENT_RANGE,
    header::TRAILER,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// A request whose reply has something to hide.
pub struct Showing {
    /// What.
    pub hidden: Hidden,
    /// The connection that the reply comes over.
    pub lease: Lease,
    /// How long it may take: whole within `upstream_response`.
    pub timeouts: Arc<Timeouts>,
    /// The request's id.
    pub id: HeaderValue,
    /// The record of the request.
    pub record: Box<Record>,
}

impl Showing {
    /// The reply as the client may see it.
    pub async fn answer(self, response: Response<Incoming>) -> Response<Answer> {
        let Self { hidden, mut lease, timeouts, id, mut record } = self;
        let (mut head, mut body) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return respond::refuse(record, Denial::UpstreamBroken);
        }
        let readable = is_plain_json(&head);
        if let Err(denial) = forward::response(&mut head.headers, id) {
            return respond::refuse(record, denial);
        }
        OF_THE_WHOLE.iter().for_each(|name| drop(head.headers.remove(name)));
        tell_sunset(&mut head.headers, &record);
        if body.is_end_stream() {
            record.answered(head.status, None);
            let nothing = Answer::streaming(body, record, lease, timeouts.upstream_body_idle);
            return Response::from_parts(head, nothing);
        }
        let shown = match readable {
            Ok(()) => whole(&mut body, &mut lease, &timeouts, &record).await,
            Err(fault) => Err(Denial::ReplyUnreadable(fault)),
        };
        match shown.and_then(|store| without(&hidden, store)) {
            Ok(store) => {
                lease.give_back(record.finish());
                shown_as(head, store.into(), record)
            }
            Err(denial) if head.status.is_success() => respond::refuse(record, denial),
            // A refusal by the CRM says enough by its status: what explains it may be a page, and is left out.
            Err(_) => {
                head.headers.remove(header::CONTENT_TYPE);
                head.headers.remove(header::CONTENT_ENCODING);
                shown_as(head, Bytes::new(), record)
            }
        }
    }
}

fn without(hidden: &Hidden, store: Store) -> Result<Store, Denial> {
    // An empty text hides nothing; it may come as chunks, so that its end is not known at once.
    if store.count() == 0 {
        Ok(store)
    } else {
        store.replace(|text| blanking::without(hidden, text)).map_err(fault)
    }
}

fn shown_as(head: Parts, body: Bytes, mut record: Box<Record>) -> Response<Answer> {
    record.answered(head.status, None);
    Response::from_parts(head, Answer::whole(body, record))
}

/// The whole text.
async fn whole(
    body: &mut Incoming,
    lease: &mut Lease,
    timeouts: &Timeouts,
    record: &Record,
) -> Result<Store, Denial> {
    let proxy = record.proxy();
    let group = record.trail.client.map_or_else(|| AddrGroup::of(record.peer_ip()), ClientAddr::group);
    let store = Store::new(Arc::clone(&proxy.room), group);
    let reading = read(body, lease, store, (proxy.limits.held_reply, timeouts.upstream_body_idle));
    let late = Err(Denial::ReplyUnreadable(ReplyFault::TooSlow));
    timeout(timeouts.upstream_response, reading).await.unwrap_or(late)
}

async fn read(
    body: &mut Incoming,
    lease: &mut Lease,
    mut store: Store,
    (limit, idle): (u64, Duration),
) -> Result<Store, Denial> {
    let refuse = |fault| Err(Denial::ReplyUnreadable(fault));
    loop {
        match timeout(idle, poll_fn(|cx| lease.poll_frame(body, cx))).await {
            Err(_) => return refuse(ReplyFault::TooSlow),
            Ok(Some(Err(_))) => return refuse(ReplyFault::Broken),
            Ok(None) => return Ok(store),
            Ok(Some(Ok(frame))) => {
                // Trailers are dropped: they would be about the whole.
                let Ok(data) = frame.into_data() else { continue };
                if store.count().saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX)) > limit {
                    return refuse(ReplyFault::TooLarge);
                }
                store.add(&data, limit)?;
            }
        }
    }
}

/// Only what everyone takes for JSON in UTF-8 (RFC 9110 section 8.3, RFC 6839 section 3.1), whole and as it is.
fn is_plain_json(head: &Parts) -> Result<(), ReplyFault> {
    if head.status == StatusCode::PARTIAL_CONTENT {
        return Err(ReplyFault::Partial);
    }
    let codings = head.headers.get_all(header::CONTENT_ENCODING);
    if codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(ReplyFault::Encoded);
    }
    if media_type(&head.headers).is_some_and(is_json) { Ok(()) } else { Err(ReplyFault::Kind) }
}

/// The only media type, without a charset that is UTF-8.
fn media_type(headers: &HeaderMap) -> Option<&str> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (kinds.next(), kinds.next()) else { return None };
    let mut parts = kind.to_str().ok()?.split(';').map(str::trim);
    let media_type = parts.next()?;
    let plain = parts.all(|parameter| {
        let Some((name, value)) = parameter.split_once('=') else { return false };
        // JSON has one encoding (RFC 8259 section 8.1): other parameters, as of versions, do not change how it reads.
        !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    plain.then_some(media_type)
}

fn is_json(media_type: &str) -> bool {
    let lower = media_type.to_ascii_lowercase();
    lower == "application/json" || (lower.starts_with("application/") && lower.ends_with("+json"))
}

const fn fault(error: JsonError) -> Denial {
    Denial::ReplyUnreadable(match error {
        JsonError::NotJson => ReplyFault::NotJson,
        JsonError::Repeated => ReplyFault::RepeatedName,
        JsonError::TooDeep | JsonError::TooMany => ReplyFault::TooMuch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_everyone_takes_for_json() {
        let judged = |status: u16, lines: &[(&'static str, &'static str)]| {
            let mut response = Response::builder().status(status);
            for (name, value) in lines {
                response = response.header(*name, *value);
            }
            is_plain_json(&response.body(()).unwrap().into_parts().0)
        };
        let json = ("content-type", "application/json");
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/hal+json;charset=\"utf-8\"; v=2",
        ] {
            assert_eq!(judged(200, &[("content-type", good), ("content-encoding", "identity")]), Ok(()));
        }
        for bad in [
            "text/html",
            "text/json",
            "application/jsonl",
            "application/json; charset=utf-16",
            "application/json;",
            "application/json, text/html",
            "text/event-stream",
            "",
        ] {
            assert_eq!(judged(200, &[("content-type", bad)]), Err(ReplyFault::Kind), "{bad}");
        }
        assert_eq!(judged(200, &[]), Err(ReplyFault::Kind));
        assert_eq!(judged(200, &[json, json]), Err(ReplyFault::Kind));
        assert_eq!(judged(200, &[json, ("content-encoding", "gzip")]), Err(ReplyFault::Encoded));
        assert_eq!(judged(206, &[json]), Err(ReplyFault::Partial));
    }
}
