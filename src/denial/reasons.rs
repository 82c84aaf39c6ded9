//! The words for reasons, in the order in which they are counted.

use super::DeliveryFault;

/// Reasons that are not a [`DeliveryFault`], in the order of [`Denial::index`](super::Denial::index).
pub(super) const OWN_REASONS: [&str; 30] = [
    "ambiguous",
    "method",
    "expectation",
    "target_too_long",
    "missing",
    "malformed",
    "unknown",
    "expired",
    "revoked",
    "too_many_failures",
    "address",
    "scope",
    "scope_never",
    "scope_unread",
    "rate",
    "body_too_large",
    "body_too_slow",
    "body_broken",
    "overloaded",
    "upstream_unreachable",
    "upstream_connect_timeout",
    "upstream_timeout",
    "upstream_broken",
    "webhook_under_way",
    "decoy",
    "reply_unreadable",
    "banned",
    "client_certificate",
    "upstream_down",
    "upstream_full",
];

/// Every value of [`Denial::reason`](super::Denial::reason), in the order of [`Denial::index`](super::Denial::index).
pub const REASONS: [&str; OWN_REASONS.len() + DeliveryFault::ALL.len()] = all_reasons();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which refuses an index out of range")]
const fn all_reasons() -> [&'static str; OWN_REASONS.len() + DeliveryFault::ALL.len()] {
    let mut all = [""; OWN_REASONS.len() + DeliveryFault::ALL.len()];
    let mut at = 0;
    while at < OWN_REASONS.len() {
        all[at] = OWN_REASONS[at];
        at += 1;
    }
    let mut at = 0;
    while at < DeliveryFault::ALL.len() {
        all[OWN_REASONS.len() + at] = DeliveryFault::ALL[at].reason();
        at += 1;
    }
    all
}
