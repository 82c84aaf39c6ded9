//! Every reason to refuse a request, and every fact about each, in exhaustive matches.

mod ambiguity;
mod delivery;
mod observed;
mod reasons;
mod reply;
mod retry_after;
mod told;
pub mod words;

use http::StatusCode;

pub use ambiguity::Ambiguity;
pub use delivery::DeliveryFault;
pub use observed::Observed;
use reasons::OWN_REASONS;
pub use reasons::REASONS;
pub use reply::ReplyFault;
pub use retry_after::RetryAfter;

/// Why a request was refused, or could not be answered by the CRM.
///
/// The client gets [`status`](Self::status), [`title`](Self::title) and [`advice`](Self::advice), which hold nothing of
/// its input. Metrics and the access log get [`reason`](Self::reason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// Two HTTP parsers could read this request differently.
    Ambiguous(Ambiguity),
    /// A method that is never forwarded.
    MethodNotAllowed,
    /// `Expect` with anything but `100-continue`.
    ExpectationUnknown,
    /// The target is longer than the limit.
    TargetTooLong,
    /// No credential where the route needs one.
    CredentialMissing,
    /// A credential that cannot be one of ours: empty, over-long, or with a wrong check sum.
    CredentialMalformed,
    /// A credential that no key has.
    CredentialUnknown,
    /// The right key, too late.
    CredentialExpired,
    /// The right key, revoked.
    CredentialRevoked,
    /// The text of a decoy, which only a thief has. To the client it is [`Self::CredentialUnknown`].
    CredentialDecoy,
    /// A webhook delivery that was not believed.
    Delivery(DeliveryFault),
    /// Too many refused credentials from this address; the time is until the next attempt is looked at.
    TooManyFailures(RetryAfter),
    /// The client's address may not use keys for a while.
    AddressBanned(RetryAfter),
    /// The client's address is not on the allowlist that decides.
    AddressNotAllowed,
    /// The key is bound to a client certificate, and this connection did not show it.
    CertificateNotShown,
    /// No scope of the key covers this method and path, or what the body asks for.
    ScopeMissing,
    /// No key may ever do this.
    ScopeNever,
    /// Only the body could tell whether a scope covers it, and it was not read.
    ScopeUnread,
    /// The key's own rate is used up.
    RateLimited(RetryAfter),
    /// The request body is over the limit.
    BodyTooLarge,
    /// The request body came too slowly.
    BodyTooSlow,
    /// The client's body broke off or was not well-formed.
    BodyBroken,
    /// An equal webhook delivery is on its way to the CRM: whether this one is needed is not known yet.
    DeliveryUnderWay,
    /// Too many connections, requests, or bytes of held bodies at once.
    Overloaded,
    /// The CRM could not be reached.
    UpstreamUnreachable,
    /// The CRM is known to be down, and was not asked; the time is until it is tried again.
    UpstreamDown(RetryAfter),
    /// As many connections to the CRM as there may be are in use, and none became free in time.
    UpstreamFull,
    /// The CRM did not accept a connection in time.
    UpstreamConnectTimeout,
    /// The CRM did not answer in time.
    UpstreamTimeout,
    /// The CRM's answer was not valid HTTP, or its connection broke before one.
    UpstreamBroken,
    /// The CRM's answer may show what the pack hides, and could not be read.
    ReplyUnreadable(ReplyFault),
}

impl From<DeliveryFault> for Denial {
    fn from(fault: DeliveryFault) -> Self {
        Self::Delivery(fault)
    }
}

impl Denial {
    /// Position in [`REASONS`].
    pub const fn index(self) -> usize {
        match self {
            Self::Ambiguous(_) => 0,
            Self::MethodNotAllowed => 1,
            Self::ExpectationUnknown => 2,
            Self::TargetTooLong => 3,
            Self::CredentialMissing => 4,
            Self::CredentialMalformed => 5,
            Self::CredentialUnknown => 6,
            Self::CredentialExpired => 7,
            Self::CredentialRevoked => 8,
            Self::Delivery(fault) => OWN_REASONS.len() + fault.index(),
            Self::TooManyFailures(_) => 9,
            Self::AddressNotAllowed => 10,
            Self::ScopeMissing => 11,
            Self::ScopeNever => 12,
            Self::ScopeUnread => 13,
            Self::RateLimited(_) => 14,
            Self::BodyTooLarge => 15,
            Self::BodyTooSlow => 16,
            Self::BodyBroken => 17,
            Self::Overloaded => 18,
            Self::UpstreamUnreachable => 19,
            Self::UpstreamConnectTimeout => 20,
            Self::UpstreamTimeout => 21,
            Self::UpstreamBroken => 22,
            Self::DeliveryUnderWay => 23,
            Self::CredentialDecoy => 24,
            Self::ReplyUnreadable(_) => 25,
            Self::AddressBanned(_) => 26,
            Self::CertificateNotShown => 27,
            Self::UpstreamDown(_) => 28,
            Self::UpstreamFull => 29,
        }
    }

    /// The label value in metrics and the word in the access log. Stable.
    #[expect(
        clippy::indexing_slicing,
        reason = "index() is below REASONS.len() for every variant; a test walks them"
    )]
    pub const fn reason(self) -> &'static str {
        REASONS[self.index()]
    }

    /// The HTTP status of the answer.
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Ambiguous(_) | Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ExpectationUnknown => StatusCode::EXPECTATION_FAILED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::CredentialMissing
            | Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialExpired
            | Self::CredentialRevoked
            | Self::CredentialDecoy
            | Self::Delivery(_) => StatusCode::UNAUTHORIZED,
            Self::AddressBanned(_)
            | Self::AddressNotAllowed
            | Self::CertificateNotShown
            | Self::ScopeMissing
            | Self::ScopeNever
            | Self::ScopeUnread => StatusCode::FORBIDDEN,
            Self::TooManyFailures(_) | Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded | Self::DeliveryUnderWay | Self::UpstreamDown(_) | Self::UpstreamFull => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::UpstreamUnreachable | Self::UpstreamBroken | Self::ReplyUnreadable(_) => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamConnectTimeout | Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// More about it, for the access log only.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "few have more to tell, and a new one may have nothing"
    )]
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::Ambiguous(what) => Some(what.word()),
            Self::ReplyUnreadable(fault) => Some(fault.word()),
            _ => None,
        }
    }

    /// True for a key that nobody has: whoever sends many of them is guessing. A decoy must not be told from these.
    pub const fn is_guess(self) -> bool {
        matches!(self, Self::CredentialUnknown | Self::CredentialMalformed | Self::CredentialDecoy)
    }

    /// True where the client's credential was refused: these count against its address and as failed authentication.
    pub const fn is_authentication_failure(self) -> bool {
        match self {
            Self::CredentialMissing
            | Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialExpired
            | Self::CredentialRevoked
            | Self::CredentialDecoy
            | Self::Delivery(_)
            | Self::TooManyFailures(_) => true,
            Self::Ambiguous(_)
            | Self::MethodNotAllowed
            | Self::ExpectationUnknown
            | Self::TargetTooLong
            | Self::AddressBanned(_)
            | Self::AddressNotAllowed
            | Self::CertificateNotShown
            | Self::ScopeMissing
            | Self::ScopeNever
            | Self::ScopeUnread
            | Self::RateLimited(_)
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::DeliveryUnderWay
            | Self::Overloaded
            | Self::UpstreamUnreachable
            | Self::UpstreamDown(_)
            | Self::UpstreamFull
            | Self::UpstreamConnectTimeout
            | Self::UpstreamTimeout
            | Self::UpstreamBroken
            | Self::ReplyUnreadable(_) => false,
        }
    }

    /// Seconds for `Retry-After` (RFC 9110 section 10.2.3), where waiting helps.
    pub const fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooManyFailures(wait)
            | Self::RateLimited(wait)
            | Self::AddressBanned(wait)
            | Self::UpstreamDown(wait) => Some(wait.seconds()),
            Self::Overloaded | Self::DeliveryUnderWay | Self::UpstreamFull => Some(1),
            Self::UpstreamUnreachable | Self::UpstreamConnectTimeout => Some(5),
            Self::Ambiguous(_)
            | Self::MethodNotAllowed
            | Self::ExpectationUnknown
            | Self::TargetTooLong
            | Self::CredentialMissing
            | Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialExpired
            | Self::CredentialRevoked
            | Self::CredentialDecoy
            | Self::Delivery(_)
            | Self::AddressNotAllowed
            | Self::CertificateNotShown
            | Self::ScopeMissing
            | Self::ScopeNever
            | Self::ScopeUnread
            | Self::BodyTooLarge
            | Self::BodyTooSlow
            | Self::BodyBroken
            | Self::UpstreamTimeout
            | Self::UpstreamBroken
            | Self::ReplyUnreadable(_) => None,
        }
    }

    /// True where the connection may hold bytes whose meaning is in doubt, and is closed after the answer.
    pub const fn closes_connection(self) -> bool {
        match self {
            Self::Ambiguous(what) => what.is_framing(),
            Self::BodyTooLarge | Self::BodyTooSlow | Self::BodyBroken | Self::ExpectationUnknown => true,
            Self::MethodNotAllowed
            | Self::TargetTooLong
            | Self::CredentialMissing
            | Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialExpired
            | Self::CredentialRevoked
            | Self::CredentialDecoy
            | Self::Delivery(_)
            | Self::TooManyFailures(_)
            | Self::AddressBanned(_)
            | Self::AddressNotAllowed
            | Self::CertificateNotShown
            | Self::ScopeMissing
            | Self::ScopeNever
            | Self::ScopeUnread
            | Self::RateLimited(_)
            | Self::DeliveryUnderWay
            | Self::Overloaded
            | Self::UpstreamUnreachable
            | Self::UpstreamDown(_)
            | Self::UpstreamFull
            | Self::UpstreamConnectTimeout
            | Self::UpstreamTimeout
            | Self::UpstreamBroken
            | Self::ReplyUnreadable(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn reasons_are_distinct_and_retry_rounds_up() {
        let mut seen = REASONS.to_vec();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), REASONS.len());
        assert_eq!(Denial::UpstreamFull.index(), OWN_REASONS.len() - 1);
        for fault in DeliveryFault::ALL {
            assert_eq!(Denial::Delivery(fault).reason(), fault.reason());
        }
        assert_eq!(RetryAfter::from_wait(Duration::from_millis(1)).seconds(), 1);
        assert_eq!(RetryAfter::from_wait(Duration::ZERO).seconds(), 1);
        assert_eq!(RetryAfter::from_wait(Duration::from_millis(2001)).seconds(), 3);
    }

    #[test]
    fn a_stranger_cannot_tell_malformed_nor_a_decoy_from_unknown() {
        let told = |it: Denial| {
            let facts = (it.is_authentication_failure(), it.retry_after(), it.closes_connection());
            (it.slug(), it.title(), it.advice(), it.status(), facts)
        };
        let unknown = told(Denial::CredentialUnknown);
        assert_eq!([Denial::CredentialMalformed, Denial::CredentialDecoy].map(told), [unknown, unknown]);
    }
}
