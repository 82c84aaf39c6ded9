//! `[timeouts]`: how long each step may take.

use std::time::Duration;

use super::reader::Section;
use super::units::Span;

/// The section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// `request_head`: from its first byte, or from the connection's start, to its end; default 10 s.
    pub request_head: Duration,
    /// `request_body_idle`: between two reads of a body; default 30 s.
    pub request_body_idle: Duration,
    /// `held_body`: for the whole of a body that is held until it is judged; default 20 s.
    pub held_body: Duration,
    /// `tls_handshake`: from a connection's start to the end of its handshake; default 10 s.
    pub tls_handshake: Duration,
    /// `keep_alive`: between two requests; default 60 s.
    pub keep_alive: Duration,
    /// `client_write_idle`: for a client that does not read its answer; default 60 s.
    pub client_write_idle: Duration,
    /// `upstream_connect`: default 3 s.
    pub upstream_connect: Duration,
    /// `upstream_response`: from the request to the CRM's response head; default 60 s.
    pub upstream_response: Duration,
    /// `upstream_body_idle`: between two reads of the CRM's answer; default 60 s, event streams use `stream_idle`.
    pub upstream_body_idle: Duration,
    /// `upstream_keep_alive`: how long an unused connection to the CRM is kept; default 15 s.
    pub upstream_keep_alive: Duration,
    /// `stream_idle`: for `WebSocket`s and event streams; default 1 h.
    pub stream_idle: Duration,
    /// `drain`: from SIGTERM to the end; default 28 s.
    pub drain: Duration,
    /// `drain_accept`: from SIGTERM to closing the listeners, so that load balancers notice first; default 5 s.
    pub drain_accept: Duration,
    /// `upgrade`: from the start of the new process to its first connection; default 60 s.
    pub upgrade: Duration,
}

impl Timeouts {
    pub(super) fn read(section: Section<'_, '_>) -> Self {
        let span = |key, default| {
            let value = section.get(key);
            let parsed = value.and_then(|value| value.parse::<Span>()).map_or(default, |span| span.0);
            if parsed.is_zero()
                && key != "drain_accept"
                && let Some(value) = value
            {
                value.reading().error(value.span(), "zero would never let anything through", None);
            }
            parsed
        };
        let secs = Duration::from_secs;
        let timeouts = Self {
            request_head: span("request_head", secs(10)),
            request_body_idle: span("request_body_idle", secs(30)),
            held_body: span("held_body", secs(20)),
            tls_handshake: span("tls_handshake", secs(10)),
            keep_alive: span("keep_alive", secs(60)),
            client_write_idle: span("client_write_idle", secs(60)),
            upstream_connect: span("upstream_connect", secs(3)),
            upstream_response: span("upstream_response", secs(60)),
            upstream_body_idle: span("upstream_body_idle", secs(60)),
            upstream_keep_alive: span("upstream_keep_alive", secs(15)),
            stream_idle: span("stream_idle", secs(3600)),
            drain: span("drain", secs(28)),
            drain_accept: span("drain_accept", secs(5)),
            upgrade: span("upgrade", secs(60)),
        };
        section.finish();
        timeouts
    }
}
