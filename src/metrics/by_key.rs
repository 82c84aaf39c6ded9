//! Series with a key label, made at scrape time from the key states: 10,000 keys that are never used cost nothing, and the
//! series of a key that leaves the file leave with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::catalogue::{
    CREATED, DENIED, EXPIRES, Family, INFO, KEYS, Kind, LAST_USED, LIVE, NETWORKS, NEW_NETWORKS, OBSERVED,
    PREVIOUS_ENDS, PREVIOUS_LAST_USED, PREVIOUS_USES, REQUESTS, SECRET_CREATED,
};
use crate::clock::{Clock, WallTime};
use crate::denial::{Denial, REASONS};
use crate::keys::key::{Mode, Standing};
use crate::keys::set::{Holder, KeySet};
use crate::outcome::{API_ROUTE, RouteStats};

/// The label of keys beyond the cap.
const OTHER: &str = "other";
/// The label of callers whose key is not known.
const UNKNOWN: &str = "unknown";
/// The reason of a decoy's refusals.
const DECOY: &str = Denial::CredentialDecoy.reason();
/// Classes of status that a key has from its first answer on, and the first of them before: what alerts wait for must be
/// seen to rise from zero.
const BORN: [&str; 3] = ["2xx", "4xx", "5xx"];
/// The label of callers that need none: public routes, and proved deliveries.
const NONE: &str = "none";

#[derive(Clone)]
pub(super) struct ByKey(Arc<Inner>);

struct Inner {
    keys: ArcSwap<KeySet>,
    /// Keys from the top of the file that get a label of their own.
    cap: usize,
    clock: Clock,
    strangers: [AtomicU64; REASONS.len()],
    keyless: [AtomicU64; REASONS.len()],
    routes: RwLock<Vec<Arc<RouteStats>>>,
    descs: Vec<Desc>,
}

impl ByKey {
    pub(super) fn new(cap: usize, clock: Clock) -> Result<Self, prometheus::Error> {
        let own =
            [&REQUESTS, &DENIED, &OBSERVED, &INFO, &LIVE, &CREATED, &SECRET_CREATED, &EXPIRES, &LAST_USED];
        let rotation = [&PREVIOUS_USES, &PREVIOUS_LAST_USED, &PREVIOUS_ENDS];
        let others = [&NETWORKS, &NEW_NETWORKS, &KEYS];
        let descs =
            own.into_iter().chain(rotation).chain(others).map(Family::desc).collect::<Result<_, _>>()?;
        let (strangers, keyless) = (zeros(), zeros());
        Ok(Self(Arc::new(Inner {
            keys: ArcSwap::default(),
            cap,
            clock,
            strangers,
            keyless,
            routes: RwLock::default(),
            descs,
        })))
    }

    pub(super) fn stranger_denied(&self, denial: Denial) {
        if let Some(counter) = self.0.strangers.get(denial.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn keyless_denied(&self, denial: Denial) {
        if let Some(counter) = self.0.keyless.get(denial.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sets the keys that scrapes read from now on.
    pub(super) fn read_keys(&self, keys: Arc<KeySet>) {
        self.0.keys.store(keys);
    }

    /// Sets the routes that the next scrape reads.
    pub(super) fn read_routes(&self, routes: Vec<Arc<RouteStats>>) {
        *self.0.routes.write() = routes;
    }
}

impl Collector for ByKey {
    fn desc(&self) -> Vec<&Desc> {
        self.0.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let snapshot = self.0.keys.load();
        let keys = snapshot.all();
        let (labelled, others) = keys.split_at_checked(self.0.cap).unwrap_or((keys, &[]));
        let (networks, new_networks) = networks(labelled).into_iter().unzip();
        [
            family(&REQUESTS, self.requests(labelled, others)),
            family(&DENIED, self.denied(labelled, others)),
            family(&OBSERVED, observed(labelled, others)),
            family(
                &INFO,
                labelled.iter().map(|it| gauge(&INFO, &[id(it), it.key.title.as_str()], 1)).collect(),
            ),
            family(&LIVE, self.live(labelled)),
            family(&CREATED, stamps(&CREATED, labelled, |it| it.key.created)),
            family(&SECRET_CREATED, stamps(&SECRET_CREATED, labelled, |it| it.key.secret_made())),
            family(&EXPIRES, stamps(&EXPIRES, labelled, |it| Some(it.key.expires.unwrap_or_default()))),
            family(&LAST_USED, stamps(&LAST_USED, labelled, |it| it.state.last_used())),
            family(&PREVIOUS_USES, previous_uses(labelled)),
            family(&PREVIOUS_LAST_USED, stamps(&PREVIOUS_LAST_USED, labelled, last_previous_use)),
            family(&PREVIOUS_ENDS, stamps(&PREVIOUS_ENDS, labelled, |it| it.previous_until())),
            family(&NETWORKS, networks),
            family(&NEW_NETWORKS, new_networks),
            family(&KEYS, self.states(keys)),
        ]
        .into_iter()
        .filter(|family| !family.get_metric().is_empty())
        .collect()
    }
}

/// Of keys that are observed, zeros included; of others, what was counted while they were.
fn observed(labelled: &[Arc<Holder>], others: &[Arc<Holder>]) -> Vec<Metric> {
    let counts = |holder: &Arc<Holder>| {
        let is_observed = holder.key.mode == Mode::Observe;
        let counts: Vec<_> = holder.state.observations().collect();
        counts.into_iter().filter(move |(_, count)| is_observed || *count > 0)
    };
    let own = labelled.iter().flat_map(|holder| {
        counts(holder).map(|(reason, count)| counter(&OBSERVED, &[id(holder), reason], count))
    });
    let rest = summed(others.iter().flat_map(counts));
    own.chain(rest.into_iter().map(|(reason, count)| counter(&OBSERVED, &[OTHER, reason], count))).collect()
}

fn previous_uses(labelled: &[Arc<Holder>]) -> Vec<Metric> {
    let rotating =
        labelled.iter().filter(|it| it.key.previous.is_some() && it.key.standing != Standing::Decoy);
    rotating
        .map(|it| {
            counter(
                &PREVIOUS_USES,
                &[id(it)],
                it.previous_uses.as_ref().map_or(0, |uses| uses.count_and_last().0),
            )
        })
        .collect()
}

/// Of keys that were used. Their counter is there at zero: what is first seen at one has not increased.
fn networks(labelled: &[Arc<Holder>]) -> Vec<(Metric, Metric)> {
    let used =
        labelled.iter().map(|it| (it, it.state.origins.networks())).filter(|(_, (known, _))| *known > 0);
    used.map(|(it, (known, new))| {
        let known = i64::try_from(known).unwrap_or(i64::MAX);
        (gauge(&NETWORKS, &[id(it)], known), counter(&NEW_NETWORKS, &[id(it)], new))
    })
    .collect()
}

fn last_previous_use(holder: &Holder) -> Option<WallTime> {
    holder.previous_uses.as_ref()?.count_and_last().1
}

impl ByKey {
    fn requests(&self, labelled: &[Arc<Holder>], others: &[Arc<Holder>]) -> Vec<Metric> {
        let (api, now) = (API_ROUTE, self.0.clock.wall());
        let mut out = Vec::new();
        for holder in labelled {
            let answers: Vec<_> = holder.state.answers().collect();
            let born = match (answers.is_empty(), holder.key.phase(now).is_over()) {
                (false, _) => BORN.len(),
                (true, false) => 1,
                (true, true) => 0,
            };
            let is_zero = |class: &&str| answers.iter().all(|(known, _)| known != class);
            let zeros = BORN.into_iter().take(born).filter(is_zero).map(|class| (class, 0));
            let all = zeros.chain(answers.iter().copied());
            out.extend(all.map(|(class, count)| counter(&REQUESTS, &[id(holder), api, class], count)));
        }
        for (class, count) in summed(others.iter().flat_map(|holder| holder.state.answers())) {
            out.push(counter(&REQUESTS, &[OTHER, api, class], count));
        }
        for route in self.0.routes.read().iter() {
            out.extend(
                route
                    .answers()
                    .map(|(label, class, count)| counter(&REQUESTS, &[label, route.name(), class], count)),
            );
        }
        out
    }

    fn denied(&self, labelled: &[Arc<Holder>], others: &[Arc<Holder>]) -> Vec<Metric> {
        let mut out = Vec::new();
        // There from the start, and also beyond the cap: an alert on the first touch needs the zero before it.
        for (holder, count) in labelled.iter().chain(others).filter_map(touches) {
            out.push(counter(&DENIED, &[id(holder), DECOY], count));
        }
        for holder in labelled {
            out.extend(denials(holder).map(|(reason, count)| counter(&DENIED, &[id(holder), reason], count)));
        }
        for (reason, count) in summed(others.iter().flat_map(denials)) {
            out.push(counter(&DENIED, &[OTHER, reason], count));
        }
        for (reason, count) in REASONS.iter().zip(&self.0.strangers) {
            out.push(counter(&DENIED, &[UNKNOWN, reason], count.load(Ordering::Relaxed)));
        }
        for (reason, count) in REASONS.iter().zip(&self.0.keyless) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                out.push(counter(&DENIED, &[NONE, reason], count));
            }
        }
        out
    }

    fn live(&self, labelled: &[Arc<Holder>]) -> Vec<Metric> {
        let now = self.0.clock.wall();
        let live = |holder: &Holder| i64::from(!holder.key.phase(now).is_over());
        labelled.iter().map(|holder| gauge(&LIVE, &[id(holder)], live(holder))).collect()
    }

    fn states(&self, keys: &[Arc<Holder>]) -> Vec<Metric> {
        let now = self.0.clock.wall();
        let (mut active, mut expired, mut revoked, mut decoy) = (0, 0, 0, 0);
        for holder in keys {
            match (holder.key.standing, holder.key.expires) {
                (Standing::Decoy, _) => decoy += 1,
                (Standing::Revoked, _) => revoked += 1,
                (Standing::Live, Some(expires)) if expires <= now => expired += 1,
                (Standing::Live, Some(_) | None) => active += 1,
            }
        }
        [("active", active), ("expired", expired), ("revoked", revoked), ("decoy", decoy)]
            .into_iter()
            .map(|(state, count)| gauge(&KEYS, &[state], count))
            .collect()
    }
}

fn zeros() -> [AtomicU64; REASONS.len()] {
    std::array::from_fn(|_| AtomicU64::new(0))
}

fn id(holder: &Holder) -> &str {
    holder.key.id.as_str()
}

/// How often a decoy was touched; `None` for a key that is none.
fn touches(holder: &Arc<Holder>) -> Option<(&Arc<Holder>, u64)> {
    (holder.key.standing == Standing::Decoy)
        .then(|| (holder, holder.state.denied_for(Denial::CredentialDecoy)))
}

/// Refusals by reason, but for the touches of a decoy.
fn denials(holder: &Arc<Holder>) -> impl Iterator<Item = (&'static str, u64)> {
    let is_decoy = holder.key.standing == Standing::Decoy;
    holder.state.denials().filter(move |(reason, _)| !is_decoy || *reason != DECOY)
}

/// Age and use of a decoy tell nothing, and would raise the alerts that are meant for keys.
fn stamps(of: &Family, holders: &[Arc<Holder>], stamp: impl Fn(&Holder) -> Option<WallTime>) -> Vec<Metric> {
    holders
        .iter()
        .filter(|holder| holder.key.standing != Standing::Decoy)
        .filter_map(|holder| stamp(holder).map(|at| gauge(of, &[id(holder)], at.unix_secs())))
        .collect()
}

fn summed(
    counts: impl Iterator<Item = (&'static str, u64)>,
) -> std::collections::BTreeMap<&'static str, u64> {
    counts.fold(std::collections::BTreeMap::new(), |mut sums, (name, count)| {
        *sums.entry(name).or_default() += count;
        sums
    })
}

pub(super) fn family(of: &Family, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(of.short().to_owned());
    family.set_help(of.help.to_owned());
    family.set_field_type(match of.kind {
        Kind::Counter => MetricType::COUNTER,
        Kind::Gauge => MetricType::GAUGE,
        Kind::Histogram => MetricType::HISTOGRAM,
    });
    family.set_metric(metrics);
    family
}

pub(super) fn counter(of: &Family, values: &[&str], count: u64) -> Metric {
    let mut metric = Metric::from_label(labels(of, values));
    let mut counter = Counter::default();
    counter.set_value(super::as_f64(count));
    metric.set_counter(counter);
    metric
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus has only f64; seconds and counts stay far below 2^53"
)]
pub(super) fn gauge(of: &Family, values: &[&str], value: i64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    let mut metric = Metric::from_label(labels(of, values));
    metric.set_gauge(gauge);
    metric
}

fn labels(of: &Family, values: &[&str]) -> Vec<LabelPair> {
    let mut pairs: Vec<LabelPair> = of
        .labels
        .iter()
        .zip(values)
        .map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        })
        .collect();
    pairs.sort_by(|a, b| a.name().cmp(b.name()));
    pairs
}
