//! The data path: hyper between the clients' connections and the CRM's.
//!
//! In the order of a request: [`doors`] (who may connect at all) → [`connection`] (accept, limits in [`places`], deadlines in
//! [`client_io`] and [`patience`], its end in [`lingering`]; which listener, [`front`]; TLS and PROXY headers, [`greeting`]; then [`http1`] or [`http2`]) →
//! [`exchange`] (judge, forward, answer; [`held`] bodies where they decide, [`hiding`] what replies must not show) → [`forward`] (the
//! request as the CRM gets it) → [`upstream`] (the CRM's addresses, and connections to them) → [`line`] (one of these; what we say
//! ourselves, [`insertion`]) → [`upload`] and
//! [`download`] (bodies) or [`tunnel`] (`WebSocket`s) → [`record`] (how it ended). [`respond`] is the one place that turns a
//! refusal into bytes, and [`unread`] sees to what was not read of its request.

pub mod client_io;
pub mod connection;
pub mod doors;
pub mod download;
pub mod exchange;
pub mod forward;
pub mod front;
pub mod greeting;
pub mod held;
pub mod hiding;
pub mod http1;
pub mod http2;
pub mod insertion;
pub mod lifeline;
pub mod line;
mod lingering;
pub mod patience;
pub mod peer;
pub mod places;
pub mod proxy_protocol;
pub mod record;
pub mod respond;
pub mod tunnel;
mod unread;
pub mod upload;
pub mod upstream;
pub mod wake;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::access_log::AccessLog;
use crate::clock::{Clock, Seldom};
use crate::config::{Limits, Listener, Timeouts};
use crate::gate::Gate;
use crate::limits::failures::Failures;
use crate::metrics::Metrics;
use crate::telegram::watch::Watch;
use doors::Doors;
use held::Room;
use lifeline::Lifelines;
use places::Connections;
use upstream::Upstream;

/// Everything that a reload replaces, in one swap.
#[derive(Debug)]
pub struct Live {
    /// What decides.
    pub gate: Gate,
    /// The CRM; kept with its connections while its section does not change.
    pub upstream: Arc<Upstream>,
    /// Who may connect at all.
    pub doors: Doors,
    /// The listeners, in the order in which they were bound.
    pub fronts: Vec<Arc<Listener>>,
    /// How long things may take.
    pub timeouts: Arc<Timeouts>,
    /// Largest request body, in bytes.
    pub body_limit: u64,
}

/// What every request shares.
#[derive(Debug)]
pub struct Proxy {
    /// The current snapshot, loaded once per request.
    pub live: Arc<ArcSwap<Live>>,
    /// Addresses with refused credentials.
    pub failures: Arc<Failures>,
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// The record of requests.
    pub access_log: AccessLog,
    /// Whom to tell that Telegram delivered without a secret.
    pub telegram: Arc<Watch>,
    /// The time.
    pub clock: Clock,
    /// When the log was last told that a clock may be wrong.
    pub clock_warning: Seldom,
    /// Limits that need a restart.
    pub limits: Limits,
    /// Open client connections.
    pub connections: Connections,
    /// What each of them carries.
    pub lifelines: Arc<Lifelines>,
    /// Memory for bodies that decide.
    pub room: Arc<Room>,
    /// True from the moment that connections should end.
    pub draining: watch::Receiver<bool>,
    /// `WebSocket`s end now.
    pub hang_up: watch::Receiver<bool>,
    /// Random start of request ids.
    pub id_seed: u64,
    /// Number of the next request.
    pub next_id: AtomicU64,
}
