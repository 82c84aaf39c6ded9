//! The one place that turns a refusal into an answer: `application/problem+json` (RFC 9457), empty for webhook senders.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};

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
    if status == http::StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if denial.closes_connection() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status == http::StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(header::ALLOW, allowed(&record));
    }
    rate_limit(&mut headers, &record, denial);
    let mut response = Response::new(Answer::whole(body, record));
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
    format!(
        "{{\"type\":\"urn:sidelock:problem:{}\",\"title\":\"{}\",\"status\":{},\"detail\":\"{}\",\"request_id\":\"{id}\"}}\n",
        denial.slug(),
        denial.title(),
        denial.status().as_u16(),
        denial.advice(),
    )
    .into()
}
