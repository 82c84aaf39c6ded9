//! The one place that turns a refusal, or an answer of our own, into bytes: `application/problem+json` (RFC 9457), empty for webhook senders.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::download::Answer;
use super::forward::X_REQUEST_ID;
use super::record::Record;
use crate::denial::Denial;
use crate::limits::limiter::policy_header;
use crate::outcome::Caller;

/// Answers a refusal, and records it.
pub fn refuse(mut record: Box<Record>, denial: Denial) -> Response<Answer> {
    let status = denial.status();
    record.answered(status, Some(denial));
    let id = record.request_id;
    let body = if record.trail.webhook.is_some() { Bytes::new() } else { problem(denial, id.as_str()) };
    let mut headers = http::HeaderMap::with_capacity(8);
    if !body.is_empty() {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(seconds) = denial.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if denial.closes_connection() || record.is_unread() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, allowed(&record));
    }
    rate_limit(&mut headers, &record, denial);
    let mut response = Response::new(Answer::whole(body, record));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// Nothing but that all is well: a sender reads more into an answer's body than was meant.
pub fn fine(record: Box<Record>) -> Response<Answer> {
    own(record, StatusCode::OK, None)
}

/// An answer of our own to a delivery: what its sender needs to hear. Part of it may be the sender's own text.
pub fn delivery(
    record: Box<Record>,
    status: StatusCode,
    kind: &HeaderValue,
    body: Vec<u8>,
) -> Response<Answer> {
    own(record, status, Some((kind, body)))
}

fn own(
    mut record: Box<Record>,
    status: StatusCode,
    content: Option<(&HeaderValue, Vec<u8>)>,
) -> Response<Answer> {
    record.answered(status, None);
    let mut headers = http::HeaderMap::with_capacity(4);
    let mut bytes = Bytes::new();
    if let Some((kind, body)) = content.filter(|(_, body)| !body.is_empty()) {
        headers.insert(header::CONTENT_TYPE, kind.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        bytes = body.into();
    }
    headers.insert(X_REQUEST_ID, record.request_id.header_value());
    let mut response = Response::new(Answer::whole(bytes, record));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// RFC 9110 section 10.2.1 asks for it with 405.
fn allowed(record: &Record) -> HeaderValue {
    let methods = match &record.trail.webhook {
        Some(webhook) => webhook.methods.iter().map(http::Method::as_str).collect::<Vec<_>>().join(", "),
        None => "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS".to_owned(),
    };
    HeaderValue::from_str(&methods).unwrap_or_else(|_| HeaderValue::from_static("POST"))
}

/// `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) where the key's rate was the reason.
fn rate_limit(headers: &mut http::HeaderMap, record: &Record, denial: Denial) {
    let (Denial::RateLimited(wait), Caller::Key(holder)) = (denial, &record.trail.caller) else {
        return;
    };
    let policy = policy_header(holder.state.rate());
    let state = format!("\"key\";r=0;t={}", wait.seconds());
    for (name, value) in [("ratelimit-policy", policy), ("ratelimit", state)] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Nothing of the request stands in it, so nothing needs escaping.
fn problem(denial: Denial, id: &str) -> Bytes {
    let mut status = itoa::Buffer::new();
    let parts = [
        "{\"type\":\"urn:sidelock:problem:",
        denial.slug(),
        "\",\"title\":\"",
        denial.title(),
        "\",\"status\":",
        status.format(denial.status().as_u16()),
        ",\"detail\":\"",
        denial.advice(),
        "\",\"request_id\":\"",
        id,
        "\"}\n",
    ];
    // `format!` takes six times as long, and whoever guesses keys makes us write many of these.
    parts.concat().into()
}
