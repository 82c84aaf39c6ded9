//! The steps of a decision, and which of them makes which refusal.

use crate::denial::{Ambiguity, Denial};

/// One step of a decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which one.
    pub name: Name,
    /// What came of it.
    pub finding: Finding,
    /// The thing that decided, in words. Parts of it are other people's text.
    pub by: String,
}

/// The steps, in the order of the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// Whether the request reads one way only.
    Request,
    /// Where its path leads.
    Route,
    /// Whether the address may call at all.
    Address,
    /// Whether a delivery may have this method.
    Method,
    /// Whether there is one credential.
    Credential,
    /// Whose it is, and whether it is still good.
    Key,
    /// How often.
    Rate,
    /// Whether the key may be used from there.
    KeyAddress,
    /// Whether the connection showed the certificate that the key needs.
    Certificate,
    /// What method and path grant.
    Scope,
    /// What the body asks for.
    Body,
    /// Whether a delivery is its sender's.
    Proof,
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It lets the request through.
    Passed,
    /// It refuses the request.
    Refused,
    /// It would refuse the request, if the key were not only observed.
    Observed,
    /// What it needs is not known here.
    NotJudged,
}

impl Name {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Route => "route",
            Self::Address => "address",
            Self::Method => "method",
            Self::Credential => "credential",
            Self::Key => "key",
            Self::Rate => "rate",
            Self::KeyAddress => "key_address",
            Self::Certificate => "certificate",
            Self::Scope => "scope",
            Self::Body => "body",
            Self::Proof => "proof",
        }
    }
}

impl Finding {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Observed => "observed",
            Self::NotJudged => "not_judged",
        }
    }
}

/// At which step a refusal is made.
pub const fn decided_at(denial: Denial) -> Name {
    match denial {
        Denial::Ambiguous(Ambiguity::SeveralCredentials | Ambiguity::CredentialInTarget)
        | Denial::CredentialMissing
        | Denial::CredentialMalformed => Name::Credential,
        Denial::Ambiguous(_)
        | Denial::MethodNotAllowed
        | Denial::ExpectationUnknown
        | Denial::TargetTooLong => Name::Request,
        Denial::CredentialUnknown
        | Denial::CredentialExpired
        | Denial::CredentialRevoked
        | Denial::CredentialDecoy
        | Denial::TooManyFailures(_) => Name::Key,
        Denial::AddressNotAllowed | Denial::AddressBanned(_) => Name::Address,
        Denial::RateLimited(_) => Name::Rate,
        Denial::CertificateNotShown => Name::Certificate,
        Denial::ScopeMissing | Denial::ScopeNever => Name::Scope,
        Denial::ScopeUnread | Denial::BodyTooLarge | Denial::BodyTooSlow | Denial::BodyBroken => Name::Body,
        // Made of what is not asked here: a sender's secret, the running process, the CRM.
        Denial::Delivery(_)
        | Denial::DeliveryUnderWay
        | Denial::Overloaded
        | Denial::UpstreamUnreachable
        | Denial::UpstreamDown(_)
        | Denial::UpstreamFull
        | Denial::UpstreamConnectTimeout
        | Denial::UpstreamTimeout
        | Denial::UpstreamBroken
        | Denial::ReplyUnreadable(_) => Name::Proof,
    }
}
