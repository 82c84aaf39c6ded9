//! The data path: hyper on pingora-core's listeners and connector.
//!
//! In the order of a request: [`connection`] (accept, limits, deadlines in [`client_io`]; by which listener, [`front`]; TLS and
//! PROXY headers, [`greeting`]; [`http2`]) → [`exchange`] (judge, forward,
//! answer; [`held`] bodies where they decide, [`hiding`] what replies must not show) → [`forward`] (the request as the CRM gets it) → [`upstream`] (connections to the CRM) → [`line`] (one of
//! them) → [`upload`] and
//! [`download`] (bodies) or [`tunnel`] (`WebSocket`s) → [`record`] (how it ended). [`respond`] is the one place that turns a
//! refusal into bytes.

pub mod client_io;
pub mod connection;
pub mod download;
pub mod exchange;
pub mod forward;
pub mod front;
pub mod greeting;
pub mod held;
pub mod hiding;
pub mod http2;
pub mod lifeline;
pub mod line;
pub mod peer;
pub mod proxy_protocol;
pub mod record;
pub mod respond;
pub mod tunnel;
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
use connection::Connections;
use front::Fronts;
use held::Room;
use lifeline::Lifelines;
use upstream::Upstream;

/// Everything that a reload replaces, in one swap.
#[derive(Debug)]
pub struct Live {
    /// What decides.
    pub gate: Gate,
    /// The CRM; kept with its connections while its section does not change.
    pub upstream: Arc<Upstream>,
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
    /// Where clients connect.
    pub fronts: Fronts,
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
