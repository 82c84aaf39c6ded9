//! Addresses whose credentials were refused: counted and slowed down in bounded memory.
//!
//! Only refusals pass through here, so a shared address whose other users hold valid keys is never locked out.

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use quick_cache::sync::Cache;

use super::bans::{BanRule, Bans, Cause, MOST_BANS};
use super::limiter::Limiter;
use super::rate::Rate;
use crate::client_addr::AddrGroup;
use crate::clock::{Clock, Moment, Now, WallTime};
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
    /// Those that may not use keys.
    pub bans: Bans,
    /// `window number << 32 | addresses with a failure in it`.
    recent: AtomicU64,
    clock: Clock,
}

#[derive(Debug)]
struct Address {
    limiter: Limiter,
    /// `window number << 32 | failures in it`.
    count: AtomicU64,
    /// Unknown keys: `second of the first << 32 | number since`.
    guesses: AtomicU64,
    total: AtomicU64,
    first: WallTime,
    last_millis: AtomicI64,
}

/// What is known of an address whose credentials were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offender {
    /// Which.
    pub group: AddrGroup,
    /// Refusals since it is remembered.
    pub count: u64,
    /// The first of them.
    pub first: WallTime,
    /// The last of them.
    pub last: WallTime,
}

#[derive(Debug, Default)]
struct WindowedMax(AtomicU64);

impl Failures {
    /// Remembers at most `capacity` address groups.
    pub fn new(capacity: usize, clock: &Clock) -> Self {
        Self {
            addresses: Cache::new(capacity),
            worst: WindowedMax::default(),
            bans: Bans::new(MOST_BANS, clock),
            recent: AtomicU64::new(0),
            clock: clock.clone(),
        }
    }

    /// Counts a refusal from `from`; the same refusal comes back, or [`Denial::TooManyFailures`] beyond `rate`.
    pub fn refuse(&self, denial: Denial, from: AddrGroup, rate: Rate, now: Now) -> Denial {
        limited(denial, &self.counted(from, rate, now), now)
    }

    /// The same for a key that nobody has; an address that sends too many of them is banned from now on.
    pub fn refuse_guess(
        &self,
        denial: Denial,
        from: AddrGroup,
        (rate, rule): (Rate, &BanRule),
        now: Now,
    ) -> Denial {
        let address = self.counted(from, rate, now);
        if address.guessed(now.monotonic, rule) {
            self.bans.add(from, rule.lasts, Cause::Guessing);
        }
        limited(denial, &address, now)
    }

    fn counted(&self, from: AddrGroup, rate: Rate, now: Now) -> Arc<Address> {
        let address = match self.addresses.get(&from) {
            Some(address) if address.limiter.rate() == rate => address,
            before => {
                let fresh =
                    Arc::new(Address::new(Limiter::new(rate, now.monotonic), now.wall, before.as_deref()));
                self.addresses.insert(from, Arc::clone(&fresh));
                fresh
            }
        };
        address.total.fetch_add(1, Ordering::Relaxed);
        address.last_millis.store(now.wall.unix_millis(), Ordering::Relaxed);
        let window = window_of(now.monotonic);
        let count = count_in(&address.count, window);
        self.worst.raise(window, count);
        if count == 1 {
            count_in(&self.recent, window);
        }
        address
    }

    /// At most `most` addresses, those with the most refusals first. Looks at all that are remembered: not for requests.
    pub fn offenders(&self, most: usize) -> Vec<Offender> {
        let offender = |(group, address): (AddrGroup, Arc<Address>)| Offender {
            group,
            count: address.total.load(Ordering::Relaxed),
            first: address.first,
            last: WallTime::from_unix_millis(address.last_millis.load(Ordering::Relaxed)),
        };
        let mut all: Vec<Offender> = self.addresses.iter().map(offender).collect();
        all.sort_unstable_by_key(|it| (Reverse(it.count), Reverse(it.last), it.group));
        all.truncate(most);
        all
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

fn limited(denial: Denial, address: &Address, now: Now) -> Denial {
    match address.limiter.take(now.monotonic) {
        Ok(_) => denial,
        Err(wait) => Denial::TooManyFailures(wait),
    }
}

impl Address {
    /// A changed rate starts another limiter; what is known of the address stays.
    fn new(limiter: Limiter, now: WallTime, before: Option<&Self>) -> Self {
        let kept = |counter: fn(&Self) -> &AtomicU64| {
            AtomicU64::new(before.map_or(0, |before| counter(before).load(Ordering::Relaxed)))
        };
        Self {
            limiter,
            count: kept(|before| &before.count),
            guesses: kept(|before| &before.guesses),
            total: kept(|before| &before.total),
            first: before.map_or(now, |before| before.first),
            last_millis: AtomicI64::default(),
        }
    }

    /// True if this guess is the one too many; counting starts again then, and when the time of the rule is over.
    fn guessed(&self, now: Moment, rule: &BanRule) -> bool {
        let (now, within) = (now.as_secs(), rule.within.as_secs().max(1));
        let next = |old: u64| {
            let (start, count) = (old >> 32, old & u64::from(u32::MAX));
            let started = count > 0 && now.saturating_sub(start) < within;
            if started { (start, count + 1) } else { (now, 1) }
        };
        let is_one_too_many = |count: u64| count >= u64::from(rule.after.get());
        let packed = |old: u64| {
            let (start, count) = next(old);
            if is_one_too_many(count) { 0 } else { start << 32 | count }
        };
        let old = self.guesses.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |old| Some(packed(old)));
        is_one_too_many(next(old.unwrap_or(0)).1)
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
        let refuse = |from| failures.refuse(Denial::CredentialUnknown, group(from), rate, time.clock().now());
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
    fn an_address_that_guesses_is_banned() {
        let time = ManualClock::at(WallTime::default());
        let failures = Failures::new(100, &time.clock());
        let secs = Duration::from_secs;
        let rule = BanRule { after: 3.try_into().unwrap(), within: secs(600), lasts: secs(3_600) };
        let rate = "10/min burst 1".parse().unwrap();
        let guess = || {
            failures.refuse_guess(
                Denial::CredentialUnknown,
                group("192.0.2.1"),
                (rate, &rule),
                time.clock().now(),
            );
            failures.bans.left(group("192.0.2.1")).is_some()
        };
        assert!(!guess() && !guess());
        failures.refuse(Denial::CredentialMissing, group("192.0.2.1"), rate, time.clock().now());
        time.advance(secs(600));
        assert!(!guess() && !guess(), "the first two are forgotten");
        assert!(guess(), "one too many, though answered with 429");
        assert!(failures.bans.left(group("192.0.2.2")).is_none());
        time.advance(secs(3_600));
        assert!(!guess() && !guess() && guess(), "counted from the start again");
        assert_eq!(failures.bans.total(), 2);
    }

    #[test]
    fn offenders_in_order_and_a_changed_rate_forgets_none() {
        let time = ManualClock::at(WallTime::from_unix_secs(1_000));
        let failures = Failures::new(100, &time.clock());
        let rates = ["10/min", "20/min"].map(|rate| rate.parse().unwrap());
        for (from, count) in [("192.0.2.1", 2), ("2001:db8::1", 5), ("2001:db8::2", 4), ("192.0.2.3", 1)] {
            for rate in rates.iter().cycle().take(count) {
                failures.refuse(Denial::CredentialUnknown, group(from), *rate, time.clock().now());
            }
            time.advance(Duration::from_secs(1));
        }
        let top = failures.offenders(2);
        let told: Vec<_> = top.iter().map(|it| (it.group.to_string(), it.count)).collect();
        assert_eq!(told, [("2001:db8::/64".to_owned(), 9), ("192.0.2.1".to_owned(), 2)]);
        let secs = |it: &Offender| (it.first.unix_secs(), it.last.unix_secs());
        assert_eq!(top.iter().map(secs).collect::<Vec<_>>(), [(1_001, 1_002), (1_000, 1_000)]);
    }

    /// A botnet of a million addresses neither fills the memory nor hides who is at it all the time.
    #[test]
    fn a_flood_hides_nobody() {
        let clock = Clock::system();
        let failures = Failures::new(MOST_ADDRESSES, &clock);
        let rate = "10/min".parse().unwrap();
        for number in 0..1_000_000_u32 {
            failures.refuse(
                Denial::CredentialUnknown,
                AddrGroup::of(IpAddr::V4(number.into())),
                rate,
                clock.now(),
            );
            if number.is_multiple_of(100) {
                // Another address of one /64 each time.
                let v6 = std::net::Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(number));
                failures.refuse(Denial::CredentialUnknown, AddrGroup::of(v6.into()), rate, clock.now());
            }
        }
        assert!(failures.remembered() <= MOST_ADDRESSES);
        let top = failures.offenders(100);
        assert_eq!(top.len(), 100);
        assert_eq!(top.first().map(|it| (it.group, it.count)), Some((group("2001:db8::"), 10_000)));
    }

    #[test]
    fn memory_is_bounded() {
        let clock = Clock::system();
        let failures = Failures::new(1_000, &clock);
        let rate = "10/min".parse().unwrap();
        for number in 0..100_000_u32 {
            failures.refuse(
                Denial::CredentialUnknown,
                AddrGroup::of(IpAddr::V4(number.into())),
                rate,
                clock.now(),
            );
        }
        assert!(failures.remembered() <= 1_000);
    }
}
