//! What the client hears of a refusal. Nothing of its input stands in it.

use super::Denial;

impl Denial {
    /// The last part of the problem's `type` (RFC 9457 section 3.1.1). Malformed and unknown share one, so that a
    /// stranger cannot tell them apart.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Ambiguous(_) => "ambiguous-request",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::ExpectationUnknown => "expectation-failed",
            Self::TargetTooLong => "target-too-long",
            Self::CredentialMissing => "credential-missing",
            Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialDecoy
            | Self::Delivery(_) => "credential-not-accepted",
            Self::CredentialExpired => "key-expired",
            Self::CredentialRevoked => "key-revoked",
            Self::TooManyFailures(_) => "too-many-failures",
            Self::AddressBanned(_) => "address-banned",
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
            Self::UpstreamDown(_) => "upstream-down",
            Self::UpstreamFull => "upstream-full",
            Self::UpstreamConnectTimeout => "upstream-connect-timeout",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamBroken => "upstream-broken",
            Self::ReplyUnreadable(_) => "reply-unreadable",
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
            Self::CredentialMalformed
            | Self::CredentialUnknown
            | Self::CredentialDecoy
            | Self::Delivery(_) => "The credential was not accepted",
            Self::CredentialExpired => "The key has expired",
            Self::CredentialRevoked => "The key was revoked",
            Self::TooManyFailures(_) => "Too many refused credentials from this address",
            Self::AddressBanned(_) => "Too many unknown keys came from this address",
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
            Self::UpstreamDown(_) => "The service behind this gateway is down",
            Self::UpstreamFull => "The service behind this gateway has its hands full",
            Self::UpstreamConnectTimeout | Self::UpstreamTimeout => {
                "The service behind this gateway did not answer in time"
            }
            Self::UpstreamBroken => "The service behind this gateway did not give a valid answer",
            Self::ReplyUnreadable(_) => "The answer of the service behind this gateway cannot be shown",
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
            Self::CredentialMalformed | Self::CredentialUnknown | Self::CredentialDecoy => {
                "Check that the whole key was copied, with nothing before or after it; ask for a new one if it was."
            }
            Self::CredentialExpired => "Ask whoever issued the key for a new one.",
            Self::CredentialRevoked => "Ask whoever issued the key why, and for a new one.",
            Self::TooManyFailures(_) => "Wait as long as Retry-After says, then try with a correct key.",
            Self::AddressBanned(_) => {
                "Wait as long as Retry-After says; where others share your address, ask for it to be exempt."
            }
            Self::AddressNotAllowed => "Call from an allowed network, or ask for yours to be added.",
            Self::CertificateNotShown => "Show the client certificate that the key is bound to.",
            Self::ScopeMissing => "Ask for a key with a scope that covers this method, path and operation.",
            Self::ScopeNever => "Log in to the service itself for this; no scope covers it, and no key will.",
            Self::ScopeUnread => {
                "Send a body of plain JSON without a content coding. Others need a key for all of the path, and pass with none where answers hide fields."
            }
            Self::RateLimited(_) => "Wait as long as Retry-After says, and spread requests out.",
            Self::BodyTooLarge => "Send less at once.",
            Self::BodyTooSlow => "Try again over a better connection.",
            Self::BodyBroken => "Send the request again, whole.",
            Self::Overloaded | Self::DeliveryUnderWay => "Wait as long as Retry-After says, then try again.",
            Self::UpstreamUnreachable => "Nothing was done. Try again in a while.",
            Self::UpstreamDown(_) | Self::UpstreamFull => {
                "Nothing was done. Wait as long as Retry-After says, then try again."
            }
            Self::UpstreamConnectTimeout => "Nothing was done. Try again in a while.",
            Self::UpstreamTimeout | Self::UpstreamBroken => {
                "It is not known whether the request was carried out: look before you repeat it."
            }
            Self::ReplyUnreadable(_) => {
                "Part of it is hidden from keys, and it could not be read: ask for less at once, or for plain JSON."
            }
        }
    }
}
