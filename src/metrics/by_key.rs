//! Series with a key label, made at scrape time from the key states: 10,000 keys that are never used cost nothing, and the
//! series of a key that leaves the file leave with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::RwLock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

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

/// Name, help and labels of one family.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    pub(super) kind: MetricType,
}

impl Family {
    pub(super) fn desc(&self) -> Result<Desc, prometheus::Error> {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, std::collections::HashMap::new())
    }
}

const REQUESTS: Family = Family {
    name: "requests_total",
    help: "Answered requests by key id, route and class of status.",
    labels: &["key", "route", "code_class"],
    kind: MetricType::COUNTER,
};
const DENIED: Family = Family {
    name: "denied_total",
    help: "Requests that were refused or could not be answered, by key id and reason.",
    labels: &["key", "reason"],
    kind: MetricType::COUNTER,
};
const OBSERVED: Family = Family {
    name: "observed_total",
    help: "Requests that passed only because their key is observed, by key id and the reason that would have refused them.",
    labels: &["key", "reason"],
    kind: MetricType::COUNTER,
};
const INFO: Family = Family {
    name: "key_info",
    help: "1, with the title of a key.",
    labels: &["key", "title"],
    kind: MetricType::GAUGE,
};
const CREATED: Family = Family {
    name: "key_created_timestamp_seconds",
    help: "When a key was made.",
    labels: &["key"],
    kind: MetricType::GAUGE,
};
const EXPIRES: Family = Family {
    name: "key_expires_timestamp_seconds",
    help: "When a key stops working; 0 for never.",
    labels: &["key"],
    kind: MetricType::GAUGE,
};
const LAST_USED: Family = Family {
    name: "key_last_used_timestamp_seconds",
    help: "When a key was last proved; absent if never since the start.",
    labels: &["key"],
    kind: MetricType::GAUGE,
};
const PREVIOUS_USES: Family = Family {
    name: "key_previous_uses_total",
    help: "Uses of the secret that a rotation replaced, while it is in the file.",
    labels: &["key"],
    kind: MetricType::COUNTER,
};
const PREVIOUS_LAST_USED: Family = Family {
    name: "key_previous_last_used_timestamp_seconds",
    help: "When the secret that a rotation replaced was last used, while it is in the file.",
    labels: &["key"],
    kind: MetricType::GAUGE,
};
const PREVIOUS_ENDS: Family = Family {
    name: "key_previous_ends_timestamp_seconds",
    help: "When the secret that a rotation replaced stops working, once that is known.",
    labels: &["key"],
    kind: MetricType::GAUGE,
};
const NETWORKS: Family = Family {
    name: "key_networks",
    help: "Networks (IPv4 /24, IPv6 /48) that a key was used from, at most 64, once it was used.",
    labels: &["key"],
    kind: MetricType::GAUGE,
};
const NEW_NETWORKS: Family = Family {
    name: "key_new_networks_total",
    help: "Uses of a key from a network that was not known of it, while others were.",
    labels: &["key"],
    kind: MetricType::COUNTER,
};
const KEYS: Family =
    Family { name: "keys", help: "Keys in the file by state.", labels: &["state"], kind: MetricType::GAUGE };

impl ByKey {
    pub(super) fn new(cap: usize, clock: Clock) -> Result<Self, prometheus::Error> {
        let own = [&REQUESTS, &DENIED, &OBSERVED, &INFO, &CREATED, &EXPIRES, &LAST_USED];
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
            family(&CREATED, stamps(&CREATED, labelled, |it| it.key.created)),
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
    rotating.map(|it| counter(&PREVIOUS_USES, &[id(it)], it.state.previous_uses().1)).collect()
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
    holder.key.previous.and_then(|_| holder.state.previous_uses().0)
}

impl ByKey {
    fn requests(&self, labelled: &[Arc<Holder>], others: &[Arc<Holder>]) -> Vec<Metric> {
        let api = API_ROUTE;
        let mut out = Vec::new();
        for holder in labelled {
            out.extend(
                holder
                    .state
                    .answers()
                    .map(|(class, count)| counter(&REQUESTS, &[id(holder), api, class], count)),
            );
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
    family.set_name(of.name.to_owned());
    family.set_help(of.help.to_owned());
    family.set_field_type(of.kind);
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
