//! Addresses with refused credentials, read when a scrape comes. No address is a label, unless the operator wants the worst
//! ten.

use std::sync::Arc;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{PullingGauge, Registry};

use super::as_f64;
use super::by_key::{Family, counter, family, gauge};
use crate::limits::failures::Failures;

/// Most addresses with a label.
const MOST_LABELS: usize = 10;

/// Whether addresses may be labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressLabels {
    /// None.
    None,
    /// The ten with the most refused credentials.
    Worst,
}

const BANNED: Family = Family {
    name: "banned_addresses",
    help: "Addresses that may not use keys now.",
    labels: &[],
    kind: MetricType::GAUGE,
};
const BANS: Family =
    Family { name: "bans_total", help: "Bans of addresses.", labels: &[], kind: MetricType::COUNTER };
const BY_ADDRESS: Family = Family {
    name: "auth_failures_by_address",
    help: "Refused credentials of the ten addresses that have the most, since each is remembered.",
    labels: &["address"],
    kind: MetricType::GAUGE,
};

struct ByAddress {
    failures: Arc<Failures>,
    labels: AddressLabels,
    descs: Vec<Desc>,
}

/// Registers everything about addresses.
pub(super) fn register(
    registry: &Registry,
    failures: Arc<Failures>,
    labels: AddressLabels,
) -> Result<(), prometheus::Error> {
    let worst = Arc::clone(&failures);
    registry.register(Box::new(PullingGauge::new(
        "auth_failure_worst_source",
        "Highest number of refused credentials from one address (IPv6: one /64) in the current five minutes.",
        Box::new(move || as_f64(worst.worst())),
    )?))?;
    let remembered = Arc::clone(&failures);
    registry.register(Box::new(PullingGauge::new(
        "auth_failure_sources",
        "Addresses with refused credentials that are remembered now.",
        Box::new(move || as_f64(u64::try_from(remembered.remembered()).unwrap_or(u64::MAX))),
    )?))?;
    let descs = [&BANNED, &BANS, &BY_ADDRESS].map(Family::desc).into_iter().collect::<Result<_, _>>()?;
    registry.register(Box::new(ByAddress { failures, labels, descs }))
}

impl Collector for ByAddress {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let banned = signed(u64::try_from(self.failures.bans.banned()).unwrap_or(u64::MAX));
        let mut families = vec![
            family(&BANNED, vec![gauge(&BANNED, &[], banned)]),
            family(&BANS, vec![counter(&BANS, &[], self.failures.bans.total())]),
        ];
        let worst = match self.labels {
            AddressLabels::None => Vec::new(),
            AddressLabels::Worst => self.failures.offenders(MOST_LABELS),
        };
        if !worst.is_empty() {
            let series = |it: &crate::limits::failures::Offender| {
                gauge(&BY_ADDRESS, &[&it.group.to_string()], signed(it.count))
            };
            families.push(family(&BY_ADDRESS, worst.iter().map(series).collect()));
        }
        families
    }
}
