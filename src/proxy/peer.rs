//! Who is at the other end of a connection, and how it came: written out once for all of its requests.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use parking_lot::Mutex;

use super::greeting::Slot;
use super::lifeline::Lifeline;
use super::places::Place;
use crate::credential::api_key::DigestMemo;
use crate::request_head::own_fields::OwnFields;
use crate::tls::certificate::Facts;

/// Says how the client reached the first proxy.
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// An address as the CRM is told of it, written out once per connection.
#[derive(Debug)]
pub struct Peer {
    /// The address.
    pub ip: IpAddr,
    /// For `X-Forwarded-For`.
    pub list: HeaderValue,
    /// `for=…` for `Forwarded`.
    standard: Box<str>,
    /// What was last said, and of which `Host`: on one connection it seldom changes.
    last: Mutex<Option<Said>>,
    /// The digest of the key that was presented last.
    pub memo: Arc<DigestMemo>,
}

#[derive(Debug)]
struct Said {
    host: Option<HeaderValue>,
    scheme: Scheme,
    fields: OwnFields,
}

/// The other end of one connection, with what ends it.
#[derive(Debug)]
pub struct Connected {
    /// Who it is.
    pub peer: Peer,
    /// How it came.
    pub way: Way,
    /// What it carries.
    pub lifeline: Lifeline,
    /// Its place among all, for as long as anything that came by it is under way; `None` if there was none.
    pub place: Option<Counted>,
}

/// What it counts as.
#[derive(Debug)]
pub enum Counted {
    /// A connection.
    Connection(Place),
    /// A request over a connection that brings many.
    Stream(Slot),
}

/// How a connection came.
#[derive(Clone, Debug)]
pub struct Way {
    /// With TLS or without.
    pub scheme: Scheme,
    /// The certificate that the client showed, verified.
    pub certificate: Option<Arc<Facts>>,
}

impl std::ops::Deref for Connected {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Peer {
    /// Writes `ip` out.
    pub fn new(ip: IpAddr) -> Self {
        let text = ip.to_string();
        let standard = if ip.is_ipv6() { format!("for=\"[{text}]\"") } else { format!("for={text}") };
        let list = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        Self { ip, list, standard: standard.into(), last: Mutex::new(None), memo: Arc::default() }
    }
}

impl Peer {
    /// `X-Forwarded-*`, and `Forwarded` (RFC 7239), with this one client and a judged `Host`, which holds nothing that a quoted
    /// string would have to escape: whatever came before is gone.
    pub fn say(&self, own: &mut OwnFields, host: Option<&HeaderValue>, scheme: Scheme) {
        let mut last = self.last.lock();
        let same = |said: &&Said| said.scheme == scheme && said.host.as_ref() == host;
        if let Some(said) = last.as_ref().filter(same) {
            return own.say_all(&said.fields);
        }
        let mut fields = OwnFields::default();
        if let Some(host) = host {
            let quoted = [self.standard.as_bytes(), b";host=\"", host.as_bytes(), b"\";proto="].concat();
            if let Ok(standard) = HeaderValue::from_bytes(&[&quoted, scheme.as_str().as_bytes()].concat()) {
                fields.say(&header::FORWARDED, &standard);
            }
            fields.say(&X_FORWARDED_HOST, host);
        }
        fields.say(&X_FORWARDED_FOR, &self.list);
        fields.say(&X_FORWARDED_PROTO, &HeaderValue::from_static(scheme.as_str()));
        own.say_all(&fields);
        // A copy: a value of the request's would keep the whole of its head in memory for as long as the connection lasts.
        let host = host.and_then(|host| HeaderValue::from_bytes(host.as_bytes()).ok());
        *last = Some(Said { host, scheme, fields });
    }

    /// The address's text.
    pub fn text(&self) -> &str {
        self.list.to_str().unwrap_or_default()
    }
}

/// How the client reached the front of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS, here or at a trusted proxy.
    Https,
}

impl Scheme {
    /// What a trusted proxy says; otherwise that of the listener.
    pub fn find(headers: &HeaderMap, peer_is_trusted: bool, listener: Self) -> Self {
        if !peer_is_trusted {
            return listener;
        }
        let mut said = headers.get_all(X_FORWARDED_PROTO).iter();
        match (said.next(), said.next()) {
            (Some(one), None) if one == "https" => Self::Https,
            (None, _) => listener,
            (Some(_), _) => Self::Http,
        }
    }

    /// As it stands in the header.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}
