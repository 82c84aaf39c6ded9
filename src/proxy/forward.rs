//! The request as the CRM gets it, and the answer as the client gets it: what ends here is taken out, what Sidelock says is
//! put in.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::peer::{Peer, Scheme};
use super::upstream::Upstream;
use crate::denial::Denial;
use crate::gate::{Admitted, Trail};
use crate::outcome::Caller;
use crate::request_head::fields::{Kind, kind_of};
use crate::request_head::own_fields::OwnFields;

/// The header with the request's id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const WEBHOOK: HeaderName = HeaderName::from_static("x-sidelock-webhook");
const SENDER: HeaderName = HeaderName::from_static("x-sidelock-sender");

/// Bytes that Sidelock's own fields usually fit in.
const OWN_FIELDS: usize = 512;

/// Turns a request head into the one for the CRM, together with the fields that it gives back. Needs the proof that it was
/// admitted: whoever says so took those fields out in every spelling.
pub fn request(
    parts: &mut Parts,
    admitted: &Admitted,
    trail: &Trail,
    way: (&Peer, Scheme),
    id: &HeaderValue,
    upstream: &Upstream,
) -> OwnFields {
    let (peer, scheme) = way;
    for name in admitted.strip() {
        parts.headers.remove(name);
    }
    parts.uri = Uri::from(admitted.upstream_target());
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    let mut own = OwnFields::with_room(OWN_FIELDS);
    // Nearly always the first: looking it up by name costs more.
    let sent = headers.iter().find(|(name, _)| **name == header::HOST).map(|(_, host)| host);
    if let Some(client) = trail.client {
        if client.ip() == peer.ip {
            peer.say(&mut own, sent, scheme);
        } else {
            Peer::new(client.ip()).say(&mut own, sent, scheme);
        }
    }
    let has_host = sent.is_some();
    host(headers, has_host, upstream);
    match (&trail.caller, &trail.webhook) {
        (Caller::Key(holder), _) => own.say_all(holder.identity.fields()),
        (Caller::Keyless | Caller::Unknown, Some(webhook)) => {
            if let Ok(name) = HeaderValue::from_str(&webhook.name) {
                own.say(&WEBHOOK, &name);
            }
        }
        (Caller::Keyless | Caller::Unknown, None) => {}
    }
    if let Some(mark) = admitted.mark() {
        own.say(&SENDER, mark);
    }
    own.say(&X_REQUEST_ID, id);
    if admitted.hidden().is_some() {
        plain_reply(headers, &parts.method);
    }
    if let Some(credential) = upstream.config().credentials.get(admitted.credential())
        && !matches!(trail.caller, Caller::Unknown)
        && (trail.webhook.is_some() || matches!(trail.caller, Caller::Key(_)))
    {
        headers.insert(credential.header.clone(), credential.value.clone());
    }
    own
}

/// Asks for a reply that can be read: whole, and without a content coding. With a validator of the hidden text a caller
/// could try what it is, so reading asks for no comparison; where it guards a change, it stays.
fn plain_reply(headers: &mut HeaderMap, method: &Method) {
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.remove(header::RANGE);
    headers.remove(header::IF_RANGE);
    if *method == Method::GET || *method == Method::HEAD {
        let guards =
            [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_UNMODIFIED_SINCE];
        for guard in guards {
            headers.remove(guard);
        }
    }
}

/// Exactly one `Host`: the configured one, the client's, or the CRM's own address for HTTP/1.0 without one.
fn host(headers: &mut HeaderMap, is_there: bool, upstream: &Upstream) {
    let config = upstream.config();
    if let Some(host) = &config.host_header {
        headers.insert(header::HOST, host.clone());
    } else if !is_there {
        insert(headers, header::HOST, &config.authority());
    }
}

/// What an answer's body is, as far as its pace matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Server-sent events: long silences are normal.
    Events,
    /// Anything else.
    Other,
}

/// Takes out what ends at this hop (RFC 9110 section 7.6.1), also what `Connection` names, and puts the id in.
///
/// # Errors
/// [`Denial::UpstreamBroken`] if two parsers could see two bodies.
pub fn response(headers: &mut HeaderMap, id: HeaderValue) -> Result<Content, Denial> {
    let mut content = Content::Other;
    let mut framed = false;
    let mut ends_here: Vec<HeaderName> = Vec::new();
    for (name, value) in headers.iter() {
        match kind_of(name.as_str()) {
            Kind::Connection => {
                ends_here.push(name.clone());
                ends_here.extend(nominated(headers));
            }
            Kind::ContentLength => frame(&mut framed, value.as_bytes().iter().all(u8::is_ascii_digit))?,
            Kind::TransferEncoding => {
                frame(&mut framed, value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))?;
                ends_here.push(name.clone());
            }
            Kind::Upgrade | Kind::HopByHop | Kind::Expect | Kind::Identity => ends_here.push(name.clone()),
            Kind::Plain if *name == header::CONTENT_TYPE && is_events(value) => content = Content::Events,
            Kind::Plain | Kind::Forwarding | Kind::MethodOverride => {}
        }
    }
    for name in &ends_here {
        headers.remove(name);
    }
    headers.insert(X_REQUEST_ID, id);
    Ok(content)
}

/// What may stand behind the body of an answer: nothing that a head or a hop must say (RFC 9110 section 6.5.1).
pub fn trailers(mut fields: HeaderMap) -> HeaderMap {
    let others =
        fields.keys().filter(|name| kind_of(name.as_str()) != Kind::Plain || **name == header::SET_COOKIE);
    for name in others.cloned().collect::<Vec<_>>() {
        fields.remove(name);
    }
    fields
}

/// One field says how long a body is, in the one way in which it can be said.
const fn frame(framed: &mut bool, is_plain: bool) -> Result<(), Denial> {
    if *framed || !is_plain {
        return Err(Denial::UpstreamBroken);
    }
    *framed = true;
    Ok(())
}

fn is_events(kind: &HeaderValue) -> bool {
    kind.as_bytes().get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

fn nominated(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE)
}

/// Everything given here is made of characters that a field value may have.
pub fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
