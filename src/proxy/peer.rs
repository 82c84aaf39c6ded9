//! Who is at the other end of a connection, and how it came: written out once for all of its requests.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::greeting::Slot;
use super::lifeline::Lifeline;
use super::places::Place;
use crate::credential::api_key::DigestMemo;
use crate::tls::certificate::Facts;

/// Says how the client reached the first proxy.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// An address as the CRM is told of it, written out once per connection.
#[derive(Debug)]
pub struct Peer {
    /// The address.
    pub ip: IpAddr,
    /// For `X-Forwarded-For`.
    pub list: HeaderValue,
    /// `for=…` for `Forwarded`.
    standard: Box<str>,
    /// `Forwarded` as it was last made, and the `Host` that it names: on one connection it seldom changes.
    last: Mutex<Option<(HeaderValue, Scheme, HeaderValue)>>,
    /// The digest of the key that was presented last.
    pub memo: Arc<DigestMemo>,
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
    /// The value of `Forwarded` for a judged `Host`, which holds nothing that a quoted string would have to escape.
    pub fn standard(&self, host: &HeaderValue, scheme: Scheme) -> Option<HeaderValue> {
        let mut last = self.last.lock();
        if let Some((known_host, known_scheme, value)) = &*last
            && known_host == host
            && *known_scheme == scheme
        {
            return Some(value.clone());
        }
        let mut text = self.standard.as_bytes().to_vec();
        text.extend_from_slice(b";host=\"");
        text.extend_from_slice(host.as_bytes());
        text.extend_from_slice(b"\";proto=");
        text.extend_from_slice(scheme.as_str().as_bytes());
        let value = HeaderValue::from_maybe_shared(Bytes::from(text)).ok()?;
        // A copy: a value of the request's would keep the whole of its head in memory for as long as the connection lasts.
        let own = HeaderValue::from_bytes(host.as_bytes()).ok()?;
        *last = Some((own, scheme, value.clone()));
        Some(value)
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
