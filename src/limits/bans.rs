//! Addresses that may not use keys for a while: those from which too many unknown keys came, and those that the operator
//! names. Bounded, and forgotten by a restart.
//!
//! While nobody is banned, asking costs one atomic read.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::client_addr::AddrGroup;
use crate::clock::{Clock, Moment, Now, WallTime};
use crate::denial::RetryAfter;

/// Most bans at once; beyond it, the one that would end first ends now.
pub const MOST_BANS: usize = 10_000;

/// The longest ban: 366 days.
pub const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// When an address is banned, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BanRule {
    /// So many unknown keys…
    pub after: NonZeroU32,
    /// …in so long,
    pub within: Duration,
    /// and it is banned for so long.
    pub lasts: Duration,
}

/// Who banned an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The rule.
    Guessing,
    /// The operator.
    Command,
}

/// A ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The first moment at which it is over.
    pub until: Moment,
    /// When it began.
    pub since: WallTime,
    /// When it will be over, as people's clocks show it.
    pub ends: WallTime,
    /// Why.
    pub cause: Cause,
}

/// All bans.
#[derive(Debug)]
pub struct Bans {
    /// How many there are in `list`, ended ones included.
    count: AtomicUsize,
    list: RwLock<List>,
    total: AtomicU64,
    most: usize,
    clock: Clock,
}

#[derive(Debug, Default)]
struct List {
    by_group: HashMap<AddrGroup, Ban>,
    by_end: BTreeSet<(Moment, AddrGroup)>,
}

impl Cause {
    /// The word for programs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Guessing => "guessing",
            Self::Command => "command",
        }
    }
}

impl Bans {
    /// At most `most` at once.
    pub fn new(most: usize, clock: &Clock) -> Self {
        Self {
            count: AtomicUsize::new(0),
            list: RwLock::default(),
            total: AtomicU64::new(0),
            most: most.max(1),
            clock: clock.clone(),
        }
    }

    /// True if certainly nobody is banned.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// How long an address is banned yet; `None` if it is not.
    pub fn left(&self, group: AddrGroup) -> Option<RetryAfter> {
        let now = self.clock.monotonic();
        let ban = self.list.read().by_group.get(&group).copied()?;
        (ban.until > now).then(|| RetryAfter::from_wait(ban.until.since(now)))
    }

    /// Bans an address from now on, in place of a ban that it may have.
    pub fn add(&self, group: AddrGroup, lasts: Duration, cause: Cause) -> Ban {
        let Now { monotonic, wall } = self.clock.now();
        let lasts = lasts.min(LONGEST);
        let ban = Ban { until: monotonic.after(lasts), since: wall, ends: wall.after(lasts), cause };
        let mut list = self.list.write();
        list.end(monotonic);
        list.put(group, ban, self.most);
        self.total.fetch_add(1, Ordering::Relaxed);
        self.count.store(list.by_group.len(), Ordering::Relaxed);
        ban
    }

    /// Takes a ban from another process, unless it is over or the address has a longer one.
    pub fn carry_over(&self, group: AddrGroup, (since, ends): (WallTime, WallTime), cause: Cause) {
        let Now { monotonic, wall } = self.clock.now();
        let until = monotonic.after(ends.since(wall).min(LONGEST));
        let mut list = self.list.write();
        let is_longer = list.by_group.get(&group).is_none_or(|ban| ban.until < until);
        if until > monotonic && is_longer {
            list.put(group, Ban { until, since, ends, cause }, self.most);
            self.count.store(list.by_group.len(), Ordering::Relaxed);
        }
    }

    /// Ends a ban; false if there was none.
    pub fn lift(&self, group: AddrGroup) -> bool {
        let mut list = self.list.write();
        list.end(self.clock.monotonic());
        let lifted = list.remove(group);
        self.count.store(list.by_group.len(), Ordering::Relaxed);
        lifted
    }

    /// All bans, those that end first before the others.
    pub fn all(&self) -> Vec<(AddrGroup, Ban)> {
        self.forget_ended();
        let list = self.list.read();
        let in_order = list.by_end.iter().map(|(_, group)| group);
        in_order.filter_map(|group| list.by_group.get(group).map(|ban| (*group, *ban))).collect()
    }

    /// The number of addresses that are banned now.
    pub fn banned(&self) -> usize {
        self.forget_ended();
        self.count.load(Ordering::Relaxed)
    }

    /// The number of bans since the start.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// The ban of an address.
    pub fn of(&self, group: AddrGroup) -> Option<Ban> {
        let now = self.clock.monotonic();
        self.list.read().by_group.get(&group).copied().filter(|ban| ban.until > now)
    }

    fn forget_ended(&self) {
        if !self.is_empty() {
            let mut list = self.list.write();
            list.end(self.clock.monotonic());
            self.count.store(list.by_group.len(), Ordering::Relaxed);
        }
    }
}

impl List {
    /// In place of one that the address may have, and of those that end first if there are too many.
    fn put(&mut self, group: AddrGroup, ban: Ban, most: usize) {
        self.remove(group);
        while self.by_group.len() >= most {
            self.end_first();
        }
        self.by_group.insert(group, ban);
        self.by_end.insert((ban.until, group));
    }

    fn remove(&mut self, group: AddrGroup) -> bool {
        let ban = self.by_group.remove(&group);
        ban.is_some_and(|ban| self.by_end.remove(&(ban.until, group)))
    }

    /// Ends what is over at `now`.
    fn end(&mut self, now: Moment) {
        while self.by_end.first().is_some_and(|(until, _)| *until <= now) {
            self.end_first();
        }
    }

    fn end_first(&mut self) {
        if let Some((_, group)) = self.by_end.pop_first() {
            self.by_group.remove(&group);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::clock::ManualClock;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn group(number: u32) -> AddrGroup {
        AddrGroup::of(IpAddr::V4(number.into()))
    }

    #[test]
    fn a_ban_ends_by_itself_or_by_command() {
        let time = ManualClock::at(WallTime::default());
        let bans = Bans::new(10, &time.clock());
        assert_eq!(bans.left(group(1)), None);
        bans.add(group(1), HOUR, Cause::Guessing);
        bans.add(group(2), 2 * HOUR, Cause::Command);
        assert_eq!(bans.left(group(1)).map(RetryAfter::seconds), Some(3_600));
        assert_eq!((bans.left(group(3)), bans.banned()), (None, 2));
        time.advance(HOUR);
        assert_eq!((bans.left(group(1)), bans.of(group(1)), bans.banned()), (None, None, 1));
        assert!(!bans.lift(group(1)) && bans.lift(group(2)) && !bans.lift(group(2)));
        assert_eq!((bans.left(group(2)), bans.banned(), bans.total()), (None, 0, 2));
    }

    #[test]
    fn the_last_word_counts() {
        let time = ManualClock::at(WallTime::default());
        let bans = Bans::new(10, &time.clock());
        bans.add(group(1), 5 * HOUR, Cause::Guessing);
        bans.add(group(1), HOUR, Cause::Command);
        assert_eq!(bans.all().len(), 1);
        time.advance(HOUR);
        assert_eq!((bans.left(group(1)), bans.all()), (None, Vec::new()));
        bans.add(group(1), Duration::MAX, Cause::Command);
        assert_eq!(bans.left(group(1)).map(RetryAfter::seconds), Some(LONGEST.as_secs()));
    }

    #[test]
    fn there_are_only_so_many() {
        let time = ManualClock::at(WallTime::default());
        let bans = Bans::new(100, &time.clock());
        bans.add(group(0), 2 * HOUR, Cause::Command);
        for number in 1..=100_000 {
            bans.add(group(number), HOUR, Cause::Guessing);
            time.advance(Duration::from_millis(1));
        }
        assert_eq!((bans.banned(), bans.list.read().by_end.len()), (100, 100));
        assert!(bans.left(group(0)).is_some() && bans.left(group(100_000)).is_some());
        assert!(bans.left(group(50_000)).is_none(), "what would end first ended");
    }
}
