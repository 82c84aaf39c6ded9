//! Addresses whose credentials were refused: counted and slowed down in bounded memory.
//!
//! Only refusals pass through here, so a shared address whose other users hold valid keys is never locked out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use super::limiter::Limiter;
use super::rate::Rate;
use crate::client_addr::AddrGroup;
use crate::clock::{Clock, Moment};
use crate::denial::Denial;

/// Most address groups that are remembered; beyond it the least used are forgotten.
pub const MOST_ADDRESSES: usize = 100_000;

/// The window of [`Failures::worst`], in seconds.
const WINDOW_SECS: u64 = 300;

/// The memory.
#[derive(Debug)]
pub struct Failures {
    addresses: Cache<AddrGroup, Arc<Address>>,
    worst: WindowedMax,
    /// `window number << 32 | addresses with a failure in it`.
    recent: AtomicU64,
    clock: Clock,
}

#[derive(Debug)]
struct Address {
    limiter: Limiter,
    /// `window number << 32 | failures in it`.
    count: AtomicU64,
}

#[derive(Debug, Default)]
struct WindowedMax(AtomicU64);

impl Failures {
    /// Remembers at most `capacity` address groups.
    pub fn new(capacity: usize, clock: &Clock) -> Self {
        Self {
            addresses: Cache::new(capacity),
            worst: WindowedMax::default(),
            recent: AtomicU64::new(0),
            clock: clock.clone(),
        }
    }

    /// Counts a refusal from `from`; the same refusal comes back, or [`Denial::TooManyFailures`] beyond `rate`.
    pub fn refuse(&self, denial: Denial, from: AddrGroup, rate: Rate) -> Denial {
        let address = match self.addresses.get(&from) {
            Some(address) if address.limiter.rate() == rate => address,
            Some(_) | None => {
                let fresh =
                    Arc::new(Address { limiter: Limiter::new(rate, &self.clock), count: AtomicU64::new(0) });
                self.addresses.insert(from, Arc::clone(&fresh));
                fresh
            }
        };
        let window = window_of(self.clock.monotonic());
        let count = count_in(&address.count, window);
        self.worst.raise(window, count);
        if count == 1 {
            count_in(&self.recent, window);
        }
        match address.limiter.take() {
            Ok(_) => denial,
            Err(wait) => Denial::TooManyFailures(wait),
        }
    }

    /// The highest number of refusals from one address group within the current five minutes.
    pub fn worst(&self) -> u64 {
        self.worst.value(window_of(self.clock.monotonic()))
    }

    /// Address groups with a refusal within the current five minutes; one that was forgotten meanwhile counts again.
    pub fn recent(&self) -> u64 {
        value_in(self.recent.load(Ordering::Relaxed), window_of(self.clock.monotonic()))
    }

    /// Address groups remembered now.
    pub fn remembered(&self) -> usize {
        self.addresses.len()
    }
}

impl WindowedMax {
    fn raise(&self, window: u64, count: u64) {
        self.0.fetch_max(window << 32 | count, Ordering::Relaxed);
    }

    fn value(&self, window: u64) -> u64 {
        value_in(self.0.load(Ordering::Relaxed), window)
    }
}

/// The count of `window`, zero if another one was counted last.
const fn value_in(packed: u64, window: u64) -> u64 {
    if packed >> 32 == window { packed & 0xffff_ffff } else { 0 }
}

/// Adds one to the count of `window`, which starts at zero again when the window changes.
fn count_in(packed: &AtomicU64, window: u64) -> u64 {
    let next = |old: u64| {
        if old >> 32 == window { old.saturating_add(1) } else { window << 32 | 1 }
    };
    let old = packed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(next(old))).unwrap_or(0);
    next(old) & u64::from(u32::MAX)
}

const fn window_of(now: Moment) -> u64 {
    now.as_secs() / WINDOW_SECS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, WallTime};
    use std::net::IpAddr;
    use std::time::Duration;

    fn group(text: &str) -> AddrGroup {
        AddrGroup::of(text.parse().unwrap())
    }

    #[test]
    fn slows_one_address_and_not_its_neighbour() {
        let time = ManualClock::at(WallTime::default());
        let failures = Failures::new(100, &time.clock());
        let rate = "10/min burst 3".parse().unwrap();
        let refuse = |from| failures.refuse(Denial::CredentialUnknown, group(from), rate);
        for _ in 0..3 {
            assert_eq!(refuse("192.0.2.1"), Denial::CredentialUnknown);
        }
        assert!(matches!(refuse("192.0.2.1"), Denial::TooManyFailures(wait) if wait.seconds() == 6));
        assert_eq!(refuse("192.0.2.2"), Denial::CredentialUnknown);
        assert_eq!(failures.worst(), 4);
        assert_eq!(failures.recent(), 2);
        time.advance(Duration::from_secs(300));
        assert_eq!((failures.worst(), failures.recent()), (0, 0));
        assert_eq!(refuse("192.0.2.1"), Denial::CredentialUnknown);
        assert_eq!((failures.worst(), failures.recent()), (1, 1));
    }

    #[test]
    fn memory_is_bounded() {
        let failures = Failures::new(1_000, &Clock::system());
        let rate = "10/min".parse().unwrap();
        for number in 0..100_000_u32 {
            failures.refuse(Denial::CredentialUnknown, AddrGroup::of(IpAddr::V4(number.into())), rate);
        }
        assert!(failures.remembered() <= 1_000);
    }
}
