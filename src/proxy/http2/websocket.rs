//! `WebSocket`s over HTTP/2 (RFC 8441): an extended CONNECT becomes the handshake of HTTP/1.1 that it stands for, is judged as
//! that, and opens the same tunnel.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode, header};
use hyper::ext::Protocol;
use parking_lot::Mutex;

use super::streams::Guard;
use crate::proxy::download::Answer;

/// What counts a stream, held by its tunnel for as long as that lasts.
#[derive(Clone, Debug, Default)]
pub(in crate::proxy) struct Stay(Arc<Mutex<Option<Guard>>>);

impl Stay {
    /// The tunnel is open: it ends when it ends, and that is no request taken back.
    pub(super) fn keep(&self, mut guard: Guard) {
        guard.done();
        *self.0.lock() = Some(guard);
    }
}

/// Makes the head of a handshake of an extended CONNECT for a WebSocket. All other requests stay as they are.
pub(super) fn as_handshake(parts: &mut Parts) -> Option<Stay> {
    let protocol = parts.extensions.get::<Protocol>()?;
    if parts.method != Method::CONNECT || protocol.as_str() != "websocket" {
        return None;
    }
    // The client has none: HTTP/2 needs no proof that the CRM's answer is to this very request, HTTP/1.1 does.
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).ok()?;
    let key = HeaderValue::from_str(&BASE64_STANDARD.encode(nonce)).ok()?;
    parts.method = Method::GET;
    parts.headers.insert(header::SEC_WEBSOCKET_KEY, key);
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    let stay = Stay::default();
    parts.extensions.insert(stay.clone());
    Some(stay)
}

/// Whether a tunnel was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// It was.
    Tunnel,
    /// The answer is one like any other.
    Nothing,
}

/// Says in HTTP/2 what an answer to a handshake says in HTTP/1.1.
pub(super) fn told(response: &mut Response<Answer>) -> Opened {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        *response.status_mut() = StatusCode::OK;
        for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT] {
            response.headers_mut().remove(name);
        }
        return Opened::Tunnel;
    }
    if response.status().is_success() {
        // SECURITY: to the client it would mean that the tunnel is open.
        *response = Response::new(Answer::Tunnelled);
        *response.status_mut() = StatusCode::BAD_GATEWAY;
    }
    Opened::Nothing
}
