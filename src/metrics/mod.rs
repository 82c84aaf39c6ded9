//! Every metric, in an own registry; [`catalogue`] names and explains them.
//!
//! Call sites say what happened ([`Metrics::answered`], [`Metrics::ended`]) and never name labels. A key label is only
//! ever an id from the key file. Handles are resolved when a route or key is loaded, never per request.

mod by_address;
mod by_key;
mod by_webhook;
pub mod catalogue;
mod panics;
mod wire;
mod zeros;

use std::sync::Arc;

use dashmap::DashMap;
use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, PullingGauge, Registry, TextEncoder,
};

use crate::clock::{Clock, WallTime};
use crate::credential::webhook::SecretPrint;
use crate::denial::Denial;
use crate::gate::Trail;
use crate::keys::set::KeySet;
use crate::limits::failures::Failures;
use crate::outcome::{Caller, DeliveryResult, DeliveryStats, Outcome, RouteStats, SenderStats};
pub use by_address::AddressLabels;
use by_key::ByKey;
pub use by_webhook::BotStats;
use by_webhook::ByWebhook;
use catalogue::Family;
pub use wire::{Handshake, Wire};

/// Bounds of the histograms of whole requests and of the CRM, in seconds.
const SECONDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of the histogram of Sidelock's own share, in seconds.
const OWN_SECONDS: [f64; 9] = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.1];
/// Bounds of the histogram of revocations, in seconds.
const REVOCATION_SECONDS: [f64; 9] = [0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0];

/// Results of deliveries beyond the reasons of refusals and [`DeliveryResult::WORDS`].
const ACCEPTED: &str = "accepted";
const UPSTREAM_ERROR: &str = "upstream_error";
const CLIENT_GONE: &str = "client_gone";

/// All metrics of one process.
pub struct Metrics {
    registry: Registry,
    routes: DashMap<Arc<str>, Arc<RouteStats>>,
    by_key: ByKey,
    by_webhook: ByWebhook,
    duration: HistogramVec,
    upstream: HistogramVec,
    overhead: Histogram,
    auth_failures: IntCounterVec,
    deliveries: IntCounterVec,
    reloads: IntCounterVec,
    last_reload_successful: IntGauge,
    last_reload_success: Gauge,
    /// Connections to the CRM: `active` carries a request, `idle` waits for one.
    pub upstream_connections: IntGaugeVec,
    /// TLS with clients.
    pub wire: Wire,
    /// Seconds from an edit that ends a key to the end of each connection that carried it.
    pub revocation: Histogram,
    /// Requests between head and last byte.
    pub in_flight: IntGauge,
    /// Client connections open now.
    pub connections: IntGauge,
    /// Client connections closed at once because a limit was reached.
    pub connections_shed: IntCounter,
    /// Access log lines dropped because the queue was full.
    pub log_lines_dropped: IntCounter,
}

/// A reload as it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// New content is in force.
    Accepted,
    /// New content was refused; the last good one stays.
    Refused,
    /// A refused file is back at the content that is in force.
    Restored,
}

impl Metrics {
    /// Registers everything. `failures` is read when a scrape comes.
    ///
    /// # Errors
    /// A metric that is registered twice: a mistake in this file, which the first test run shows.
    pub fn new(
        failures: Arc<Failures>,
        (key_labels, address_labels): (usize, AddressLabels),
        clock: &Clock,
    ) -> Result<Arc<Self>, prometheus::Error> {
        let registry = Registry::new_custom(Some(catalogue::PREFIX.into()), None)?;
        let by_key = ByKey::new(key_labels, clock.clone())?;
        let metrics = Self {
            routes: DashMap::new(),
            duration: histogram_vec(&catalogue::DURATION)?,
            upstream: histogram_vec(&catalogue::UPSTREAM)?,
            overhead: histogram(&catalogue::OVERHEAD, &OWN_SECONDS)?,
            auth_failures: counter_vec(&catalogue::AUTH_FAILURES)?,
            deliveries: counter_vec(&catalogue::DELIVERIES)?,
            reloads: counter_vec(&catalogue::RELOADS)?,
            last_reload_successful: IntGauge::with_opts(opts(&catalogue::LAST_RELOAD_SUCCESSFUL))?,
            last_reload_success: Gauge::with_opts(opts(&catalogue::LAST_RELOAD_SUCCESS))?,
            upstream_connections: gauge_vec(&catalogue::UPSTREAM_CONNECTIONS)?,
            revocation: histogram(&catalogue::REVOCATION, &REVOCATION_SECONDS)?,
            in_flight: IntGauge::with_opts(opts(&catalogue::IN_FLIGHT))?,
            connections: IntGauge::with_opts(opts(&catalogue::CONNECTIONS))?,
            connections_shed: IntCounter::with_opts(opts(&catalogue::CONNECTIONS_SHED))?,
            log_lines_dropped: IntCounter::with_opts(opts(&catalogue::LOG_LINES_DROPPED))?,
            by_key,
            by_webhook: ByWebhook::new()?,
            wire: Wire::new(&registry)?,
            registry,
        };
        metrics.register(failures, address_labels)?;
        metrics.start_at_zero();
        Ok(Arc::new(metrics))
    }

    fn register(
        &self,
        failures: Arc<Failures>,
        address_labels: AddressLabels,
    ) -> Result<(), prometheus::Error> {
        let own: [Box<dyn Collector>; 15] = [
            Box::new(self.duration.clone()),
            Box::new(self.upstream.clone()),
            Box::new(self.overhead.clone()),
            Box::new(self.auth_failures.clone()),
            Box::new(self.deliveries.clone()),
            Box::new(self.reloads.clone()),
            Box::new(self.last_reload_successful.clone()),
            Box::new(self.last_reload_success.clone()),
            Box::new(self.upstream_connections.clone()),
            Box::new(self.revocation.clone()),
            Box::new(self.in_flight.clone()),
            Box::new(self.connections.clone()),
            Box::new(self.connections_shed.clone()),
            Box::new(self.log_lines_dropped.clone()),
            Box::new(self.by_key.clone()),
        ];
        own.into_iter().try_for_each(|collector| self.registry.register(collector))?;
        self.by_webhook.register(&self.registry)?;
        self.pulled(&catalogue::WORST_SOURCE, &failures, Failures::worst)?;
        self.pulled(&catalogue::RECENT_SOURCES, &failures, Failures::recent)?;
        self.pulled(&catalogue::SOURCES, &failures, |failures| {
            u64::try_from(failures.remembered()).unwrap_or(u64::MAX)
        })?;
        by_address::register(&self.registry, failures, address_labels)?;
        let build = gauge_vec(&catalogue::BUILD_INFO)?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        self.registry.register(Box::new(build))
    }

    /// A gauge that is read from `failures` when a scrape comes.
    fn pulled(
        &self,
        of: &Family,
        failures: &Arc<Failures>,
        read: impl Fn(&Failures) -> u64 + Send + Sync + 'static,
    ) -> Result<(), prometheus::Error> {
        let failures = Arc::clone(failures);
        let read = Box::new(move || as_f64(read(&failures)));
        self.registry.register(Box::new(PullingGauge::new(of.short(), of.help, read)?))
    }

    /// Series whose labels are known from the start are there from the start: `rate()` needs the zero.
    fn start_at_zero(&self) {
        for state in ["active", "idle"] {
            self.upstream_connections.with_label_values(&[state]).set(0);
        }
        for result in ["accepted", "refused", "restored"] {
            self.reloads.with_label_values(&[result]).inc_by(0);
        }
        for denial in zeros::refused_keys().into_iter().chain(zeros::refused_deliveries()) {
            self.auth_failures.with_label_values(&[denial.reason()]).inc_by(0);
        }
    }

    /// The record of the route called `name`, made if it is new.
    pub fn route(&self, name: &str) -> Arc<RouteStats> {
        if let Some(known) = self.routes.get(name) {
            return Arc::clone(&known);
        }
        let name: Arc<str> = name.into();
        let stats = RouteStats::new(
            Arc::clone(&name),
            self.duration.with_label_values(&[&*name]),
            self.upstream.with_label_values(&[&*name]),
        );
        Arc::clone(&self.routes.entry(name).or_insert_with(|| Arc::new(stats)))
    }

    /// The record of the bot of the webhook called `webhook`, made if it is new.
    pub fn bot(&self, webhook: &str) -> Arc<BotStats> {
        self.by_webhook.bot(webhook)
    }

    /// The record of the deliveries to the webhook called `webhook`, which has these secrets.
    pub fn webhook(&self, webhook: &str, secrets: &[SecretPrint]) -> DeliveryStats {
        let accepted = self.deliveries.with_label_values(&[webhook, ACCEPTED]);
        for failure in zeros::delivery_failures() {
            self.deliveries.with_label_values(&[webhook, failure]).inc_by(0);
        }
        self.by_webhook.deliveries(webhook, secrets, accepted)
    }

    /// Forgets webhooks that the configuration no longer has.
    pub fn retain_webhooks(&self, keep: impl Fn(&str) -> bool) {
        let words = [ACCEPTED, UPSTREAM_ERROR, CLIENT_GONE].into_iter();
        let results: Vec<&str> = words.chain(DeliveryResult::WORDS).chain(crate::denial::REASONS).collect();
        for gone in self.by_webhook.retain_webhooks(keep) {
            for result in &results {
                drop(self.deliveries.remove_label_values(&[&*gone, result]));
            }
        }
    }

    /// Forgets bots that are no longer watched.
    pub fn retain_bots(&self, keep: impl Fn(&str) -> bool) {
        self.by_webhook.retain_bots(keep);
    }

    /// The counters of whose updates came to the webhook called `webhook`, made if they are new.
    pub fn senders(&self, webhook: &str) -> Arc<SenderStats> {
        self.by_webhook.senders(webhook)
    }

    /// Forgets webhooks that no longer look at senders.
    pub fn retain_senders(&self, keep: impl Fn(&str) -> bool) {
        self.by_webhook.retain_senders(keep);
    }

    /// A request that came `at` was answered with `status`: by the CRM, or by us for `denial`.
    pub fn answered(&self, trail: &Trail, status: http::StatusCode, denial: Option<Denial>, at: WallTime) {
        self.count(trail, status);
        if let Some(denial) = denial {
            self.denied(trail, denial);
        }
        if let Some(webhook) = &trail.webhook {
            if let Some(index) = trail.secret_index {
                webhook.deliveries.proved_by(index, at);
            }
            let result = match (denial, trail.delivery.word()) {
                (Some(denial), _) => denial.reason(),
                (None, Some(word)) => word,
                (None, None) if status.is_success() => return webhook.deliveries.accepted(at),
                (None, None) => UPSTREAM_ERROR,
            };
            self.deliveries.with_label_values(&[&*webhook.name, result]).inc();
        }
    }

    /// The client left before an answer, which does not mean that the CRM did nothing: counted as `4xx`, like the 499 of
    /// other gateways.
    pub fn left(&self, trail: &Trail) {
        const CLIENT_CLOSED_REQUEST: u16 = 499;
        let status =
            http::StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(http::StatusCode::BAD_REQUEST);
        self.count(trail, status);
        if let Some(webhook) = &trail.webhook {
            self.deliveries.with_label_values(&[&*webhook.name, CLIENT_GONE]).inc();
        }
    }

    fn count(&self, trail: &Trail, status: http::StatusCode) {
        match &trail.caller {
            Caller::Key(holder) => {
                holder.state.answered(status);
                if let Some(observed) = trail.observed {
                    holder.state.observed(observed);
                }
            }
            Caller::Keyless => trail.stats.answered(true, status),
            Caller::Unknown => trail.stats.answered(false, status),
        }
    }

    fn denied(&self, trail: &Trail, denial: Denial) {
        match &trail.caller {
            Caller::Key(holder) => holder.state.denied(denial),
            Caller::Keyless => self.by_key.keyless_denied(denial),
            Caller::Unknown => self.by_key.stranger_denied(denial),
        }
        if denial.is_authentication_failure() {
            self.auth_failures.with_label_values(&[denial.reason()]).inc();
        }
    }

    /// A connection was closed because its bytes were no HTTP request at all.
    pub fn unreadable(&self, denial: Denial) {
        self.by_key.stranger_denied(denial);
    }

    /// The CRM's response head came: `upstream` is its share, `own` is ours.
    pub fn upstream_answered(
        &self,
        stats: &RouteStats,
        upstream: std::time::Duration,
        own: std::time::Duration,
    ) {
        stats.upstream.observe(upstream.as_secs_f64());
        self.overhead.observe(own.as_secs_f64());
    }

    /// A request ended.
    pub fn ended(&self, stats: &RouteStats, outcome: &Outcome<'_>) {
        stats.duration.observe(outcome.total.as_secs_f64());
    }

    /// A reload ended at `wall`.
    pub fn reloaded(&self, result: Reload, wall: WallTime) {
        let label = match result {
            Reload::Accepted => "accepted",
            Reload::Refused => "refused",
            Reload::Restored => "restored",
        };
        self.reloads.with_label_values(&[label]).inc();
        self.started(result, wall);
    }

    /// Sets the reload gauges without counting a reload.
    pub fn started(&self, result: Reload, wall: WallTime) {
        self.last_reload_successful.set(i64::from(result != Reload::Refused));
        if result != Reload::Refused {
            self.last_reload_success.set(as_f64(u64::try_from(wall.unix_secs()).unwrap_or(0)));
        }
    }

    /// The keys that scrapes read from now on.
    pub fn read_keys(&self, keys: Arc<KeySet>) {
        self.by_key.read_keys(keys);
    }

    /// Forgets routes that the configuration no longer has.
    pub fn retain_routes(&self, keep: impl Fn(&str) -> bool) {
        self.routes.retain(|name, _| {
            let kept = keep(name);
            if !kept {
                // A route that was never used has no series to remove.
                drop(self.duration.remove_label_values(&[&**name]));
                drop(self.upstream.remove_label_values(&[&**name]));
            }
            kept
        });
    }

    /// The exposition in Prometheus's text format 0.0.4.
    ///
    /// # Errors
    /// Nothing that a caller can mend; the admin listener answers 500.
    pub fn exposition(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.by_key.read_routes(self.routes.iter().map(|route| Arc::clone(&route)).collect());
        let mut families = self.registry.gather();
        // The process collector's names are the field's own and carry no prefix.
        families.extend(prometheus::process_collector::ProcessCollector::for_self().collect());
        let mut out = Vec::with_capacity(64 * 1024);
        TextEncoder::new().encode(&families, &mut out)?;
        Ok(out)
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn opts(of: &Family) -> Opts {
    Opts::new(of.short(), of.help)
}

fn histogram(of: &Family, bounds: &[f64]) -> Result<Histogram, prometheus::Error> {
    Histogram::with_opts(HistogramOpts::new(of.short(), of.help).buckets(bounds.to_vec()))
}

fn histogram_vec(of: &Family) -> Result<HistogramVec, prometheus::Error> {
    HistogramVec::new(HistogramOpts::new(of.short(), of.help).buckets(SECONDS.to_vec()), of.labels)
}

fn counter_vec(of: &Family) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(opts(of), of.labels)
}

fn gauge_vec(of: &Family) -> Result<IntGaugeVec, prometheus::Error> {
    IntGaugeVec::new(opts(of), of.labels)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has only f64; counts stay far below 2^53")]
const fn as_f64(value: u64) -> f64 {
    value as f64
}
