//! What alerts wait for, and is therefore counted from zero: `increase()` does not see the first event of a series that is
//! born with it.

use crate::denial::{DeliveryFault, Denial, RetryAfter};

/// Refused keys, which are told apart by their reason alone.
pub(super) const fn refused_keys() -> [Denial; 6] {
    [
        Denial::CredentialMissing,
        Denial::CredentialMalformed,
        Denial::CredentialUnknown,
        Denial::CredentialExpired,
        Denial::CredentialRevoked,
        Denial::CredentialDecoy,
    ]
}

/// Deliveries that were not believed, and callers that were told to wait.
pub(super) fn refused_deliveries() -> impl Iterator<Item = Denial> {
    let wait = RetryAfter::from_wait(std::time::Duration::ZERO);
    DeliveryFault::ALL.map(Denial::Delivery).into_iter().chain([Denial::TooManyFailures(wait)])
}

/// Results of deliveries that alerts wait for.
pub(super) fn delivery_failures() -> impl Iterator<Item = &'static str> {
    let upstream = [
        Denial::UpstreamUnreachable,
        Denial::UpstreamDown(RetryAfter::LEAST),
        Denial::UpstreamFull,
        Denial::UpstreamConnectTimeout,
        Denial::UpstreamTimeout,
        Denial::UpstreamBroken,
    ];
    let denials = upstream.into_iter().chain(refused_deliveries());
    [super::UPSTREAM_ERROR].into_iter().chain(denials.map(Denial::reason))
}
