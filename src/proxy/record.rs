//! What is known of one request so far. Dropping it, wherever that happens, is the end of the request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};

use super::Proxy;
use super::client_io::Pace;
use super::lifeline::Lifeline;
use super::peer::Connected;
use super::upload::UploadState;
use crate::clock::{Moment, Now};
use crate::credential::api_key;
use crate::denial::{DeliveryFault, Denial};
use crate::gate::Trail;
use crate::outcome::{Ending, Outcome, RequestId};
use crate::policy::scope::ScopeName;

/// At most one word about clocks in this time.
const CLOCK_WARNING_PAUSE: std::time::Duration = std::time::Duration::from_secs(600);

/// The record of one request.
#[derive(Debug)]
pub struct Record {
    proxy: Arc<Proxy>,
    pace: Option<Arc<Pace>>,
    peer: Arc<Connected>,
    started: Now,
    /// What the gate learned.
    pub trail: Trail,
    /// The id that everyone is told.
    pub request_id: RequestId,
    method: Method,
    path: Option<PathAndQuery>,
    scope: Option<ScopeName>,
    status: Option<StatusCode>,
    denial: Option<Denial>,
    upstream: Option<std::time::Duration>,
    /// How the answer ended, once that is known.
    pub ending: Ending,
    /// Body bytes to the client.
    pub bytes_out: u64,
    upload: Option<Arc<UploadState>>,
    tunnel: Option<Arc<Moved>>,
    finished: Option<Moment>,
}

/// Bytes that passed in each direction.
#[derive(Debug, Default)]
pub struct Moved {
    /// From the client.
    pub up: AtomicU64,
    /// To the client.
    pub down: AtomicU64,
}

impl Moved {
    /// Both together.
    pub fn total(&self) -> u64 {
        self.up.load(Ordering::Relaxed).wrapping_add(self.down.load(Ordering::Relaxed))
    }
}

impl Record {
    /// Starts with a complete head.
    pub fn new(
        proxy: &Arc<Proxy>,
        pace: Option<Arc<Pace>>,
        peer: Arc<Connected>,
        started: Now,
        trail: Trail,
        method: Method,
    ) -> Box<Self> {
        proxy.metrics.in_flight.inc();
        let number = proxy.next_id.fetch_add(1, Ordering::Relaxed);
        Box::new(Self {
            proxy: Arc::clone(proxy),
            pace,
            peer,
            started,
            trail,
            request_id: RequestId::new(proxy.id_seed, number),
            method,
            path: None,
            scope: None,
            status: None,
            denial: None,
            upstream: None,
            ending: Ending::ClientGone,
            bytes_out: 0,
            upload: None,
            tunnel: None,
            finished: None,
        })
    }

    /// The path for the log, unless it may hold a credential.
    pub fn set_path(&mut self, uri: &Uri) {
        let hidden = self.trail.path_is_secret || api_key::may_hold_own(uri.path().as_bytes());
        self.path = if hidden { None } else { uri.path_and_query().cloned() };
    }

    /// The scope that allowed the request.
    pub fn set_scope(&mut self, scope: Option<ScopeName>) {
        self.scope = scope;
    }

    /// The upload whose bytes are counted.
    pub fn set_upload(&mut self, upload: Arc<UploadState>) {
        self.upload = Some(upload);
    }

    /// True if some of the request's body was not read.
    pub fn is_unread(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| !upload.is_whole())
    }

    /// The tunnel whose bytes are counted.
    pub fn set_tunnelled(&mut self, moved: Arc<Moved>) {
        self.tunnel = Some(moved);
    }

    /// The time when the head was complete.
    pub const fn started(&self) -> Moment {
        self.started.monotonic
    }

    /// An answer is about to be sent.
    pub fn answered(&mut self, status: StatusCode, denial: Option<Denial>) {
        let denial = denial.map(|denial| self.trail.recorded(denial));
        self.status = Some(status);
        self.denial = denial;
        self.proxy.metrics.answered(&self.trail, status, denial, self.started.wall);
        if let (Some(Denial::Delivery(DeliveryFault::SecretMissing)), Some(webhook)) =
            (denial, &self.trail.webhook)
        {
            self.proxy.telegram.secret_missing(&webhook.name);
        }
        let is_late = matches!(
            denial,
            Some(Denial::Delivery(DeliveryFault::TimestampTooOld | DeliveryFault::TimestampInFuture))
        );
        if is_late && self.proxy.clock_warning.may(self.started.monotonic, CLOCK_WARNING_PAUSE) {
            let webhook = self.trail.webhook.as_ref().map(|webhook| &*webhook.name);
            tracing::warn!(
                webhook,
                "a delivery's time stamp is outside its window: an old delivery sent again, or a clock that is wrong; this one shows {}",
                self.started.wall.rfc3339()
            );
        }
    }

    /// The CRM's response head came for a request that was sent at `sent`.
    pub fn upstream_answered(&mut self, sent: Moment) {
        let now = self.proxy.clock.monotonic();
        let upstream = now.since(sent);
        let own = now.since(self.started.monotonic).saturating_sub(upstream);
        self.upstream = Some(upstream);
        self.proxy.metrics.upstream_answered(&self.trail.stats, upstream, own);
    }

    /// The moment of the end: that of the first call.
    pub fn finish(&mut self) -> Moment {
        *self.finished.get_or_insert_with(|| self.proxy.clock.monotonic())
    }

    /// The address of the connection.
    pub fn peer_ip(&self) -> std::net::IpAddr {
        self.peer.ip
    }

    /// What ends the request before its time.
    pub fn lifeline(&self) -> &Lifeline {
        &self.peer.lifeline
    }

    /// What all requests share.
    pub const fn proxy(&self) -> &Arc<Proxy> {
        &self.proxy
    }

    /// The connection became a tunnel: its pace is no longer that of requests.
    pub fn leave_connection(&mut self) {
        self.pace = None;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let now = self.finish();
        // What comes next over this connection may be another key's.
        self.peer.lifeline.carry(None);
        if let Some(pace) = self.pace.take() {
            if self.upload.as_ref().is_some_and(|upload| upload.is_whole()) {
                pace.read_through();
            }
            pace.idle(now);
        }
        self.proxy.metrics.in_flight.dec();
        if self.status.is_none() {
            self.proxy.metrics.left(&self.trail);
        }
        if self.ending == Ending::ClientGone && self.peer.lifeline.is_cut() {
            self.ending = Ending::KeyOver;
        }
        let (mut bytes_in, mut bytes_out) =
            (self.upload.as_ref().map_or(0, |upload| upload.bytes()), self.bytes_out);
        if let Some(moved) = &self.tunnel {
            bytes_in += moved.up.load(Ordering::Relaxed);
            bytes_out += moved.down.load(Ordering::Relaxed);
        }
        let outcome = Outcome {
            at: self.started.wall,
            request_id: self.request_id,
            client: self.trail.client.filter(|client| client.ip() != self.peer.ip),
            peer: self.peer.text(),
            method: &self.method,
            path: self.path.as_ref().filter(|_| !self.trail.path_is_secret),
            route: self.trail.stats.name(),
            caller: &self.trail.caller,
            scope: self.scope.as_ref(),
            status: self.status,
            denial: self.denial,
            observed: self.trail.observed,
            delivery: self.trail.delivery,
            judged: self.trail.judged,
            ending: self.ending,
            bytes_in,
            bytes_out,
            total: now.since(self.started.monotonic),
            upstream: self.upstream,
        };
        self.proxy.metrics.ended(&self.trail.stats, &outcome);
        self.proxy.access_log.write(&outcome);
    }
}
