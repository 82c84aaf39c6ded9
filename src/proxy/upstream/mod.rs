//! The CRM: which of its [`address`]es a request goes to, and what that one's failures mean.
//!
//! A request goes to another address, or out again, only if it came back unsent: no connection could be made, or one from
//! the [`pool`] turned out dead. Whatever the CRM may have read is never repeated. An address that fails again and again is
//! left out ([`health`]); where all are, requests are refused at once. [`checks`] ask addresses how they are, if they should.
//!
//! pingora-load-balancing is not used: it resolves names once, knows nothing of failures of requests, and its checks cannot
//! speak our TLS. What remains of it is a loop.

mod address;
pub mod checks;
mod health;
mod lease;
mod pool;
mod room;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use prometheus::IntGauge;
use tokio::time::Instant;

use self::address::{Address, NoConnection, share};
use self::health::{Evidence, Health, Leave, Rules, Trying};
pub use self::lease::Lease;
use self::pool::Keeping;
use self::room::{MOST_WAIT, Room};
use super::line::Failure;
use super::upload::{Upload, UploadState};
use crate::clock::{Clock, Moment};
use crate::config;
use crate::denial::{Denial, RetryAfter};
use crate::metrics::Upstreams;
use crate::request_head::own_fields::OwnFields;
use crate::tls::{self, TlsError};

/// The CRM and the connections to it.
pub struct Upstream {
    config: config::Upstream,
    keep_alive: Duration,
    addresses: Box<[Arc<Address>]>,
    /// Where the next look for the least busy one begins.
    turn: AtomicUsize,
    room: Room,
    active_gauge: IntGauge,
    clock: Clock,
}

/// Where a connection came from: only one that waited may have died unnoticed.
#[derive(Clone, Copy)]
enum Origin {
    Pool,
    New,
}

/// Where a request goes.
struct Choice<'a> {
    at: usize,
    address: &'a Arc<Address>,
    /// It tries whether the address is back.
    _trying: Option<Trying<'a>>,
}

/// Where a request has been in vain. Most have been nowhere, and are the smaller for it.
#[derive(Default)]
struct Way(Option<Box<Vain>>);

#[derive(Default)]
struct Vain {
    /// A bit per address.
    tried: u64,
    /// The end of all its connecting.
    until: Option<Instant>,
    failed: Option<Denial>,
}

// A bit per address.
const _: () = assert!(config::MOST_ADDRESSES <= 64);

impl Way {
    fn has_tried(&self, at: usize) -> bool {
        self.0.as_ref().is_some_and(|vain| vain.tried & (1 << at) != 0)
    }

    fn note(&mut self, at: usize, denial: Denial) {
        let vain = self.0.get_or_insert_default();
        vain.tried |= 1 << at;
        vain.failed = Some(denial);
    }

    fn until(&mut self, limit: Duration) -> Instant {
        *self.0.get_or_insert_default().until.get_or_insert_with(|| Instant::now() + limit)
    }

    fn failed(&self) -> Option<Denial> {
        self.0.as_ref()?.failed
    }
}

impl Upstream {
    /// Prepares; connects when the first request comes.
    ///
    /// # Errors
    /// [`TlsError`], only for `https`.
    pub fn new(
        config: config::Upstream,
        keep_alive: Duration,
        metrics: &Upstreams,
        clock: &Clock,
    ) -> Result<Arc<Self>, TlsError> {
        let rules = Rules { max_fails: config.max_fails, max_pause: config.max_eject };
        let tls =
            config.addresses.iter().map(|place| tls_to(&config, place)).collect::<Result<Vec<_>, _>>()?;
        let names: Vec<String> = config.addresses.iter().map(ToString::to_string).collect();
        let stats = metrics.addresses(&names);
        let parts = config.addresses.iter().zip(tls).zip(names.into_iter().zip(stats));
        let addresses = parts.map(|((place, tls), (name, stats))| {
            let keeping = Keeping { most: config.idle_connections, keep_alive, gauge: metrics.idle() };
            let health = Health::new(name, rules, stats);
            Arc::new(Address::new(place.clone(), tls, keeping, health, clock.clone()))
        });
        Ok(Arc::new(Self {
            addresses: addresses.collect(),
            keep_alive,
            turn: AtomicUsize::new(0),
            room: Room::new(config.max_connections),
            active_gauge: metrics.active(),
            clock: clock.clone(),
            config,
        }))
    }

    /// The section that this was made of.
    pub const fn config(&self) -> &config::Upstream {
        &self.config
    }

    /// How long an unused connection is kept.
    pub const fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// Sends the request, with our own fields, at the moment `now`, and waits for the response head.
    ///
    /// # Errors
    /// What went wrong, as the client may hear it.
    pub async fn send(
        self: &Arc<Self>,
        (request, own): (&mut Option<Request<Upload>>, &OwnFields),
        upload: Option<Arc<UploadState>>,
        timeouts: &config::Timeouts,
        mut now: Moment,
    ) -> Result<(Response<Incoming>, Lease), Denial> {
        let sent = self.clock.instant(now).into();
        if !self.room.enter() {
            Box::pin(self.room.wait(MOST_WAIT)).await?;
            now = self.clock.monotonic();
        }
        let mut lease = Lease::new(Arc::clone(self), upload);
        let mut way = Way::default();
        loop {
            let mut choice = self.choose(&way, now)?;
            lease.go_to(choice.at);
            lease.line = choice.address.reuse(now);
            let origin = if lease.line.is_some() {
                Origin::Pool
            } else {
                // Boxed: it is seldom needed, and would make every request's future large.
                Box::pin(self.connect(&mut choice, &mut lease, &mut way, timeouts.upstream_connect)).await?
            };
            let answers = choice.address.health.answers();
            let Lease { line: Some(line), upload, .. } = &mut lease else {
                return Err(Denial::UpstreamUnreachable);
            };
            let Some(sending) = request.take() else { return Err(Denial::UpstreamUnreachable) };
            match line.exchange(sending, own, upload.as_deref(), sent, timeouts.upstream_response).await {
                Ok(response) => {
                    choice.address.health.answered();
                    return Ok((response, lease));
                }
                Err(Failure::Unsent(unsent)) => {
                    if let Origin::New = origin {
                        self.refused(&choice, &mut way);
                    }
                    *request = Some(*unsent);
                    now = self.clock.monotonic();
                }
                Err(Failure::Sent(denial)) => {
                    self.judge(&choice, denial, answers);
                    return Err(denial);
                }
            }
        }
    }

    /// Where the next try goes.
    #[inline]
    fn choose(&self, way: &Way, now: Moment) -> Result<Choice<'_>, Denial> {
        match &*self.addresses {
            [only] if only.health.is_untroubled() && way.0.is_none() => {
                Ok(Choice { at: 0, address: only, _trying: None })
            }
            _ => self.choose_with_care(way, now),
        }
    }

    /// An address whose pause is over, or else the least busy one of those that were not tried.
    fn choose_with_care(&self, way: &Way, now: Moment) -> Result<Choice<'_>, Denial> {
        let lone = !self.addresses.iter().any(|address| address.health.is_in());
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % self.addresses.len().max(1);
        let in_turn = self.addresses.iter().enumerate().cycle().skip(start).take(self.addresses.len());
        let (mut best, mut wait) = (None, Duration::MAX);
        for (at, address) in in_turn.filter(|(at, _)| !way.has_tried(*at)) {
            match address.health.ask(now, lone) {
                Leave::Try => return Ok(Choice { at, address, _trying: Some(Trying(&address.health, now)) }),
                Leave::Wait(longer) => wait = wait.min(longer),
                Leave::Go => {
                    let busy = address.busy.load(Ordering::Relaxed);
                    if best.as_ref().is_none_or(|(least, _)| busy < *least) {
                        best = Some((busy, Choice { at, address, _trying: None }));
                    }
                }
            }
        }
        let none = || way.failed().unwrap_or_else(|| Denial::UpstreamDown(RetryAfter::from_wait(wait)));
        best.map(|(_, choice)| choice).ok_or_else(none)
    }

    /// A new connection, to another address if this one takes none: nothing was sent yet.
    async fn connect<'a>(
        &'a self,
        choice: &mut Choice<'a>,
        lease: &mut Lease,
        way: &mut Way,
        limit: Duration,
    ) -> Result<Origin, Denial> {
        let until = way.until(limit);
        loop {
            let left = (0..self.addresses.len()).filter(|at| !way.has_tried(*at)).count();
            match choice.address.connect(share(until, left)).await {
                Ok(line) => {
                    lease.line = Some(line);
                    return Ok(Origin::New);
                }
                Err(error) => {
                    way.note(choice.at, error.denial());
                    let now = self.clock.monotonic();
                    let next = self.choose(way, now)?;
                    choice.address.health.passed_over();
                    *choice = next;
                    lease.go_to(choice.at);
                    lease.line = choice.address.reuse(now);
                    if lease.line.is_some() {
                        return Ok(Origin::Pool);
                    }
                }
            }
        }
    }

    /// A new connection that was closed before it took a byte.
    fn refused(&self, choice: &Choice<'_>, way: &mut Way) {
        let error = NoConnection::Refused("it closed a new connection at once".to_owned());
        way.note(choice.at, error.denial());
        choice.address.health.failed(Evidence::Unconnected, &error, self.clock.monotonic());
    }

    /// What the failure of a request that was sent tells about the address.
    ///
    /// SECURITY: it may be the request's own doing, and who may send it must not be able to put the CRM out for others. So the
    /// last address stays in: a CRM that takes connections and does nothing is for [`checks`] to find, and bounded by [`room`].
    /// And one request that hangs says nothing where others are answered.
    fn judge(&self, choice: &Choice<'_>, denial: Denial, answers: u64) {
        let (health, now) = (&choice.address.health, self.clock.monotonic());
        let mut others = self.addresses.iter().enumerate().filter(|(at, _)| *at != choice.at);
        if !others.any(|(_, other)| other.health.is_in()) {
            return;
        }
        if denial == Denial::UpstreamBroken {
            health.failed(Evidence::Broken, &"its answers are broken", now);
        } else if denial == Denial::UpstreamTimeout && health.answers() == answers {
            health.failed(Evidence::Silent, &"it gives no answers in time", now);
        }
    }
}

/// TLS with one address, if there should be any: its certificate has the name that is configured, or its own.
fn tls_to(config: &config::Upstream, place: &config::Address) -> Result<Option<address::Tls>, TlsError> {
    let config::Address::Tcp { host, .. } = place else { return Ok(None) };
    let name = config.server_name.as_deref().unwrap_or(host);
    let ready = || tls::connector(name, config.ca_file.as_deref(), config.identity.as_ref());
    config.tls.then(ready).transpose()
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("config", &self.config).finish_non_exhaustive()
    }
}
