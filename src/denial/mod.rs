//! Every reason to refuse a request, and every fact about each, in exhaustive matches.

mod ambiguity;
mod delivery;
mod retry_after;

use http::StatusCode;

pub use ambiguity::Ambiguity;
pub use delivery::DeliveryFault;
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
    /// A webhook delivery that was not believed.
    Delivery(DeliveryFault),
    /// Too many refused credentials from this address; the time is until the next attempt is looked at.
    TooManyFailures(RetryAfter),
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
    /// The CRM did not accept a connection in time.
    UpstreamConnectTimeout,
    /// The CRM did not answer in time.
    UpstreamTimeout,
    /// The CRM's answer was not valid HTTP, or its connection broke before one.
    UpstreamBroken,
}

/// Reasons that are not a [`DeliveryFault`], in the order of [`Denial::index`].
const OWN_REASONS: [&str; 25] = [
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
    "client_certificate",
];

/// Every value of [`Denial::reason`], in the order of [`Denial::index`].
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
            Self::CertificateNotShown => 24,
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
            | Self::Delivery(_) => StatusCode::UNAUTHORIZED,
            Self::AddressNotAllowed
            | Self::CertificateNotShown
            | Self::ScopeMissing
            | Self::ScopeNever
            | Self::ScopeUnread => StatusCode::FORBIDDEN,
            Self::TooManyFailures(_) | Self::RateLimited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded | Self::DeliveryUnderWay => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamUnreachable | Self::UpstreamBroken => StatusCode::BAD_GATEWAY,
            Self::UpstreamConnectTimeout | Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// The last part of the problem's `type` (RFC 9457 section 3.1.1). Malformed and unknown share one, so that a
    /// stranger cannot tell them apart.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Ambiguous(_) => "ambiguous-request",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::ExpectationUnknown => "expectation-failed",
            Self::TargetTooLong => "target-too-long",
            Self::CredentialMissing => "credential-missing",
            Self::CredentialMalformed | Self::CredentialUnknown | Self::Delivery(_) => {
                "credential-not-accepted"
            }
            Self::CredentialExpired => "key-expired",
            Self::CredentialRevoked => "key-revoked",
            Self::TooManyFailures(_) => "too-many-failures",
            Self::AddressNotAllowed => "address-not-allowed",
            Self::CertificateNotShown => "client-certificate-needed",
            Self::ScopeMissing => "scope-missing",
            Self::ScopeNever => "never-allowed",
            Self::ScopeUnread => "body-unread",
            Self::RateLimited(_) => "rate-limited",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTooSlow => "body-too-slow",
            Self::BodyBroken => "body-broken",
            Self::Overloaded => "overloaded",
            Self::DeliveryUnderWay => "delivery-under-way",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamConnectTimeout => "upstream-connect-timeout",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamBroken => "upstream-broken",
        }
    }

    /// What happened, in a few words.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ambiguous(_) => "The request can be read in more than one way",
            Self::MethodNotAllowed => "This method is not served here",
            Self::ExpectationUnknown => "This expectation is not known here",
            Self::TargetTooLong => "The request target is too long",
            Self::CredentialMissing => "A credential is needed",
            Self::CredentialMalformed | Self::CredentialUnknown | Self::Delivery(_) => {
                "The credential was not accepted"
            }
            Self::CredentialExpired => "The key has expired",
            Self::CredentialRevoked => "The key was revoked",
            Self::TooManyFailures(_) => "Too many refused credentials from this address",
            Self::AddressNotAllowed => "This address may not do this",
            Self::CertificateNotShown => "The key is good only with its client certificate",
            Self::ScopeMissing => "The key may not do this",
            Self::ScopeNever => "No key may do this",
            Self::ScopeUnread => "What the request asks for was not read",
            Self::RateLimited(_) => "The key's rate limit is used up",
            Self::BodyTooLarge => "The request body is too large",
            Self::BodyTooSlow => "The request body came too slowly",
            Self::BodyBroken => "The request body broke off",
            Self::Overloaded => "Too busy",
            Self::DeliveryUnderWay => "The same delivery is under way",
            Self::UpstreamUnreachable => "The service behind this gateway cannot be reached",
            Self::UpstreamConnectTimeout | Self::UpstreamTimeout => {
                "The service behind this gateway did not answer in time"
            }
            Self::UpstreamBroken => "The service behind this gateway did not give a valid answer",
        }
    }

    /// What the caller can do about it, in a sentence.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Ambiguous(_) => {
                "Send one Host, one credential, one body length, and a path in its plain canonical spelling."
            }
            Self::MethodNotAllowed => "Use one of the methods that the API documents.",
            Self::ExpectationUnknown => "Send no Expect header, or 100-continue.",
            Self::TargetTooLong => "Shorten the path or query, or send the data in a body.",
            Self::CredentialMissing => {
                "Send your key as 'Authorization: Bearer <key>' or 'X-API-Key: <key>'."
            }
            Self::Delivery(_) => "Register the webhook again with the secret that is configured here.",
            Self::CredentialMalformed | Self::CredentialUnknown => {
                "Check that the whole key was copied, with nothing before or after it; ask for a new one if it was."
            }
            Self::CredentialExpired => "Ask whoever issued the key for a new one.",
            Self::CredentialRevoked => "Ask whoever issued the key why, and for a new one.",
            Self::TooManyFailures(_) => "Wait as long as Retry-After says, then try with a correct key.",
            Self::AddressNotAllowed => "Call from an allowed network, or ask for yours to be added.",
            Self::CertificateNotShown => "Show the client certificate that the key is bound to.",
            Self::ScopeMissing => "Ask for a key with a scope that covers this method, path and operation.",
            Self::ScopeNever => "Log in to the service itself for this; no scope covers it, and no key will.",
            Self::ScopeUnread => {
                "Send a body of plain JSON without a content coding, or ask for a key that may do all of this path."
            }
            Self::RateLimited(_) => "Wait as long as Retry-After says, and spread requests out.",
            Self::BodyTooLarge => "Send less at once.",
            Self::BodyTooSlow => "Try again over a better connection.",
            Self::BodyBroken => "Send the request again, whole.",
            Self::Overloaded | Self::DeliveryUnderWay => "Wait as long as Retry-After says, then try again.",
            Self::UpstreamUnreachable | Self::UpstreamConnectTimeout => {
                "Nothing was done. Try again in a while."
            }
            Self::UpstreamTimeout | Self::UpstreamBroken => {
                "It is not known whether the request was carried out: look before you repeat it."
            }
        }
    }

    /// True where the client's credential was refused: these count against its address and as failed authentication.
    pub const fn is_authentication_failure(self) -> bool {
        match self {
            Self::CredentialMissing
            | Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialExpired
            | Self::CredentialRevoked
            | Self::Delivery(_)
            | Self::TooManyFailures(_) => true,
            Self::Ambiguous(_)
            | Self::MethodNotAllowed
            | Self::ExpectationUnknown
            | Self::TargetTooLong
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
            | Self::UpstreamConnectTimeout
            | Self::UpstreamTimeout
            | Self::UpstreamBroken => false,
        }
    }

    /// Seconds for `Retry-After` (RFC 9110 section 10.2.3), where waiting helps.
    pub const fn retry_after(self) -> Option<u64> {
        match self {
            Self::TooManyFailures(wait) | Self::RateLimited(wait) => Some(wait.seconds()),
            Self::Overloaded | Self::DeliveryUnderWay => Some(1),
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
            | Self::UpstreamBroken => None,
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
            | Self::Delivery(_)
            | Self::TooManyFailures(_)
            | Self::AddressNotAllowed
            | Self::CertificateNotShown
            | Self::ScopeMissing
            | Self::ScopeNever
            | Self::ScopeUnread
            | Self::RateLimited(_)
            | Self::DeliveryUnderWay
            | Self::Overloaded
            | Self::UpstreamUnreachable
            | Self::UpstreamConnectTimeout
            | Self::UpstreamTimeout
            | Self::UpstreamBroken => false,
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
        assert_eq!(Denial::CertificateNotShown.index(), OWN_REASONS.len() - 1);
        for fault in DeliveryFault::ALL {
            assert_eq!(Denial::Delivery(fault).reason(), fault.reason());
        }
        assert_eq!(RetryAfter::from_wait(Duration::from_millis(1)).seconds(), 1);
        assert_eq!(RetryAfter::from_wait(Duration::ZERO).seconds(), 1);
        assert_eq!(RetryAfter::from_wait(Duration::from_millis(2001)).seconds(), 3);
    }

    #[test]
    fn a_stranger_cannot_tell_malformed_from_unknown() {
        let (a, b) = (Denial::CredentialMalformed, Denial::CredentialUnknown);
        assert_eq!(
            (a.slug(), a.title(), a.advice(), a.status()),
            (b.slug(), b.title(), b.advice(), b.status())
        );
    }
}
