//! The request as the CRM gets it, and the answer as the client gets it: what ends here is taken out, what Sidelock says is
//! put in.

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version, header};

use super::respond::X_REQUEST_ID;
use super::upstream::Upstream;
use crate::client_addr::ClientAddr;
use crate::gate::{Admitted, Trail};
use crate::outcome::{Caller, RequestId};

const KEY_ID: HeaderName = HeaderName::from_static("x-sidelock-key-id");
const KEY_TITLE: HeaderName = HeaderName::from_static("x-sidelock-key-title");
const SCOPES: HeaderName = HeaderName::from_static("x-sidelock-scopes");
const WEBHOOK: HeaderName = HeaderName::from_static("x-sidelock-webhook");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

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
    pub fn find(headers: &HeaderMap, peer_is_trusted: bool) -> Self {
        let mut said = headers.get_all(X_FORWARDED_PROTO).iter();
        match (said.next(), said.next()) {
            (Some(one), None) if peer_is_trusted && one == "https" => Self::Https,
            (Some(_) | None, _) => Self::Http,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Turns a request head into the one for the CRM. Needs the proof that it was admitted.
pub fn request(
    parts: &mut Parts,
    admitted: &Admitted,
    trail: &Trail,
    scheme: Scheme,
    id: RequestId,
    upstream: &Upstream,
) {
    for name in admitted.strip() {
        parts.headers.remove(name);
    }
    parts.uri = Uri::from(admitted.upstream_target());
    parts.version = Version::HTTP_11;
    let headers = &mut parts.headers;
    if let Some(client) = trail.client {
        forwarded(headers, client, scheme);
    }
    host(headers, upstream);
    match (&trail.caller, &trail.webhook) {
        (Caller::Key(holder), _) => {
            headers.insert(KEY_ID, holder.identity.id.clone());
            headers.insert(KEY_TITLE, holder.identity.title.clone());
            headers.insert(SCOPES, holder.identity.scopes.clone());
        }
        (Caller::Keyless | Caller::Unknown, Some(webhook)) => {
            insert(headers, WEBHOOK, &webhook.name);
        }
        (Caller::Keyless | Caller::Unknown, None) => {}
    }
    insert(headers, X_REQUEST_ID, id.as_str());
    if let Some(credential) = &upstream.config().credential
        && !matches!(trail.caller, Caller::Unknown)
        && (trail.webhook.is_some() || matches!(trail.caller, Caller::Key(_)))
    {
        headers.insert(credential.header.clone(), credential.value.clone());
    }
}

/// `X-Forwarded-*`, and `Forwarded` (RFC 7239), with the one client that was judged: whatever came before is gone.
fn forwarded(headers: &mut HeaderMap, client: ClientAddr, scheme: Scheme) {
    let ip = client.ip();
    let host = headers.get(header::HOST).cloned();
    let node = if ip.is_ipv6() { format!("\"[{ip}]\"") } else { ip.to_string() };
    let host_pair = host
        .as_ref()
        .and_then(|host| host.to_str().ok())
        .map(|host| format!(";host=\"{host}\""))
        .unwrap_or_default();
    insert(headers, X_FORWARDED_FOR, &ip.to_string());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str()));
    if let Some(host) = host {
        headers.insert(X_FORWARDED_HOST, host);
    }
    insert(headers, header::FORWARDED, &format!("for={node}{host_pair};proto={}", scheme.as_str()));
}

/// Exactly one `Host`: the configured one, the client's, or the CRM's own address for HTTP/1.0 without one.
fn host(headers: &mut HeaderMap, upstream: &Upstream) {
    let config = upstream.config();
    if let Some(host) = &config.host_header {
        headers.insert(header::HOST, host.clone());
    } else if !headers.contains_key(header::HOST) {
        insert(headers, header::HOST, &format!("{}:{}", config.host, config.port));
    }
}

/// Takes out what ends at this hop (RFC 9110 section 7.6.1), also what `Connection` names, and puts the id in.
pub fn response(headers: &mut HeaderMap, id: RequestId) {
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE)
        .collect();
    for name in &nominated {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, header::TE, header::TRAILER]
    {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authentication-info"] {
        headers.remove(name);
    }
    insert(headers, X_REQUEST_ID, id.as_str());
}

/// Everything given here is made of characters that a field value may have.
pub fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
