//! Where a key stands in its life, for people and metrics; the decision itself is [`set`](super::set)'s.

use std::time::Duration;

use super::key::{Ends, Key, Standing};
use crate::clock::WallTime;

/// A key that expires within this time is worth a look: 14 days.
pub const SOON: Duration = Duration::from_secs(14 * 86_400);

/// Where a key stands. What is over counts before what is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// In use.
    Live,
    /// In use, with two secrets.
    Rotating,
    /// In use, but not for long: within [`SOON`].
    Expiring,
    /// Past its time.
    Expired,
    /// Taken out of use.
    Revoked,
    /// Made to be stolen.
    Decoy,
}

impl Phase {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Rotating => "rotating",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Decoy => "decoy",
        }
    }

    /// True for a key that opens nothing, or nothing any more.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Expired | Self::Revoked | Self::Decoy => true,
            Self::Live | Self::Rotating | Self::Expiring => false,
        }
    }
}

impl Key {
    /// Where the key stands at `now`.
    pub fn phase(&self, now: WallTime) -> Phase {
        let rotating = self.previous.is_some_and(|previous| match previous.ends {
            Ends::At(until) => until > now,
            Ends::AfterFirstUse(_) => true,
        });
        match (self.standing, self.expires) {
            (Standing::Decoy, _) => Phase::Decoy,
            (Standing::Revoked, _) => Phase::Revoked,
            (Standing::Live, Some(expires)) if expires <= now => Phase::Expired,
            (Standing::Live, _) if rotating => Phase::Rotating,
            (Standing::Live, Some(expires)) if expires.since(now) <= SOON => Phase::Expiring,
            (Standing::Live, Some(_) | None) => Phase::Live,
        }
    }

    /// When the present secret was made, as far as the file says.
    pub fn secret_made(&self) -> Option<WallTime> {
        self.about.as_ref().and_then(|about| about.rotated).or(self.created)
    }

    /// When the key stopped working, as far as the file says: the moment of its revocation, or its expiry.
    pub fn over_since(&self, now: WallTime) -> Option<WallTime> {
        match self.phase(now) {
            Phase::Revoked => self.about.as_ref().and_then(|about| about.revoked_at).or(self.expires),
            Phase::Expired => self.expires,
            // A decoy that is never touched does its work.
            Phase::Live | Phase::Rotating | Phase::Expiring | Phase::Decoy => None,
        }
    }
}
