//! Addresses with refused credentials, read when a scrape comes. No address is a label, unless the operator wants the worst
//! ten.

use std::sync::Arc;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::by_key::{counter, family, gauge};
use super::catalogue::{BANNED, BANS, BY_ADDRESS, Family};
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
