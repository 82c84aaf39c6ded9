//! What passes for a key in observe mode, although it would be refused.

use super::Denial;

/// A refusal of a key's own limits, that its `mode = "observe"` counts instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// [`Denial::ScopeMissing`]
    Scope,
    /// [`Denial::ScopeUnread`]
    ScopeUnread,
    /// [`Denial::AddressNotAllowed`], by the key's own list.
    Address,
    /// [`Denial::RateLimited`]
    Rate,
}

impl Observed {
    /// Every one, in the order of [`Self::index`].
    pub const ALL: [Self; 4] = [Self::Scope, Self::ScopeUnread, Self::Address, Self::Rate];

    /// Position in [`Self::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The label value in metrics and the word in the access log: the refusal's own. Stable.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Scope => Denial::ScopeMissing.reason(),
            Self::ScopeUnread => Denial::ScopeUnread.reason(),
            Self::Address => Denial::AddressNotAllowed.reason(),
            Self::Rate => "rate",
        }
    }
}

impl Denial {
    /// What it counts as for a key in observe mode; `None` for what is refused in every mode.
    pub const fn observed(self) -> Option<Observed> {
        match self {
            Self::ScopeMissing => Some(Observed::Scope),
            Self::ScopeUnread => Some(Observed::ScopeUnread),
            Self::AddressNotAllowed => Some(Observed::Address),
            Self::RateLimited(_) => Some(Observed::Rate),
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
            | Self::TooManyFailures(_)
            | Self::ScopeNever
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
            | Self::ReplyUnreadable(_)
            | Self::AddressBanned(_)
            | Self::CertificateNotShown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::RetryAfter;
    use super::*;

    #[test]
    fn each_has_its_place_and_the_word_of_its_refusal() {
        let rate = Denial::RateLimited(RetryAfter::from_wait(std::time::Duration::ZERO));
        let denials = [Denial::ScopeMissing, Denial::ScopeUnread, Denial::AddressNotAllowed, rate];
        for (at, (observed, denial)) in Observed::ALL.into_iter().zip(denials).enumerate() {
            assert_eq!((observed.index(), observed.reason()), (at, denial.reason()));
            assert_eq!(denial.observed(), Some(observed));
        }
    }
}
