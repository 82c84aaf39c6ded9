//! The CRM's addresses, and the connections to them. Addresses come from the configuration, so their number is bounded.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry};

use super::catalogue::{UPSTREAM_CONNECTIONS, UPSTREAM_EJECTIONS, UPSTREAM_RETRIES, UPSTREAM_UP};
use super::{counter_vec, gauge_vec};
use parking_lot::Mutex;

/// Metrics of the CRM's side.
pub struct Upstreams {
    connections: IntGaugeVec,
    up: IntGaugeVec,
    ejections: IntCounterVec,
    retries: IntCounterVec,
    /// The labels that there are.
    shown: Mutex<Vec<String>>,
}

/// The figures of one address.
pub struct AddressStats {
    /// 1 if requests go there.
    pub up: IntGauge,
    /// How often it was left out.
    pub ejections: IntCounter,
    /// Requests that went elsewhere because it took no connection.
    pub retries: IntCounter,
}

impl Upstreams {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let (connections, up) = (gauge_vec(&UPSTREAM_CONNECTIONS)?, gauge_vec(&UPSTREAM_UP)?);
        let (ejections, retries) = (counter_vec(&UPSTREAM_EJECTIONS)?, counter_vec(&UPSTREAM_RETRIES)?);
        for gauge in [&connections, &up] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&ejections, &retries] {
            registry.register(Box::new(counter.clone()))?;
        }
        for state in ["active", "idle"] {
            connections.with_label_values(&[state]).set(0);
        }
        Ok(Self { connections, up, ejections, retries, shown: Mutex::default() })
    }

    /// Connections that carry a request.
    pub fn active(&self) -> IntGauge {
        self.connections.with_label_values(&["active"])
    }

    /// Connections that wait for one.
    pub fn idle(&self) -> IntGauge {
        self.connections.with_label_values(&["idle"])
    }

    /// From now on these are the addresses. What was given out before for any address no longer says whether it is up: its
    /// last requests may end long after a reload.
    pub fn addresses(&self, names: &[String]) -> Vec<AddressStats> {
        let mut shown = self.shown.lock();
        for gone in shown.drain(..) {
            // It was made when it was noted.
            drop(self.up.remove_label_values(&[&gone]));
            if !names.contains(&gone) {
                drop(self.ejections.remove_label_values(&[&gone]));
                drop(self.retries.remove_label_values(&[&gone]));
            }
        }
        shown.extend(names.iter().cloned());
        let stats = |name: &String| {
            let up = self.up.with_label_values(&[name]);
            up.set(1);
            AddressStats {
                up,
                ejections: self.ejections.with_label_values(&[name]),
                retries: self.retries.with_label_values(&[name]),
            }
        };
        names.iter().map(stats).collect()
    }
}
