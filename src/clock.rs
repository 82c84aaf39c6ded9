//! The only place that reads the time.
//!
//! Everything else is handed a [`Now`]. Limits use the monotonic part; expiry and webhook windows the wall part.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use governor::clock::Reference;
use governor::nanos::Nanos;
use nix::time::ClockId;

/// A source of time: the machine's, or one that a test sets.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System {
        /// When the clock was made.
        origin: Instant,
        /// The same moment in nanoseconds of the system's clock.
        base: u64,
    },
    Manual(Arc<ManualClock>),
}

/// Both readings of one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never steps back; starts near zero.
    pub monotonic: Moment,
    /// What people's clocks show.
    pub wall: WallTime,
}

/// A point on the monotonic clock: nanoseconds since the clock was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

/// A point in civil time: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

impl Clock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
    pub fn system() -> Self {
        Self(Source::System { origin: Instant::now(), base: nanos_of(ClockId::CLOCK_MONOTONIC) })
    }

    /// The current moment on both clocks.
    pub fn now(&self) -> Now {
        Now { monotonic: self.monotonic(), wall: self.wall() }
    }

    /// The monotonic reading alone.
    pub fn monotonic(&self) -> Moment {
        match &self.0 {
            Source::System { base, .. } => Moment(nanos_of(ClockId::CLOCK_MONOTONIC).saturating_sub(*base)),
            Source::Manual(manual) => Moment(manual.monotonic_nanos.load(Ordering::Relaxed)),
        }
    }

    /// `at` as the runtime's timers count; a clock that a test sets does not move those.
    #[expect(clippy::disallowed_methods, reason = "this is the place that the rule names")]
    pub fn instant(&self, at: Moment) -> Instant {
        match &self.0 {
            Source::System { origin, .. } => *origin + Duration::from_nanos(at.0),
            Source::Manual(_) => Instant::now(),
        }
    }

    /// The wall reading alone.
    pub fn wall(&self) -> WallTime {
        match &self.0 {
            Source::System { .. } => {
                let millis = nanos_of(ClockId::CLOCK_REALTIME) / NANOS_PER_MILLI;
                WallTime(i64::try_from(millis).unwrap_or(i64::MAX))
            }
            Source::Manual(manual) => WallTime(manual.wall_millis.load(Ordering::Relaxed)),
        }
    }
}

impl Moment {
    /// The moment `nanos` nanoseconds after the clock's origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Time since `earlier`; zero if that is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(saturating_nanos(span)))
    }

    /// Nanoseconds since the clock's origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Milliseconds since the clock's origin.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whole seconds since the clock's origin.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000_000
    }
}

impl std::ops::Add<Nanos> for Moment {
    type Output = Self;

    fn add(self, other: Nanos) -> Self {
        Self(self.0.saturating_add(other.as_u64()))
    }
}

impl Reference for Moment {
    fn duration_since(&self, earlier: Self) -> Nanos {
        self.0.saturating_sub(earlier.0).into()
    }

    fn saturating_sub(&self, duration: Nanos) -> Self {
        Self(self.0.checked_sub(duration.as_u64()).unwrap_or(self.0))
    }
}

impl From<SystemTime> for WallTime {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

impl WallTime {
    /// Later than any moment that is written down.
    pub const MAX: Self = Self(i64::MAX);

    /// From seconds since 1970-01-01T00:00:00Z.
    pub const fn from_unix_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// So much later; saturates in the far future.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// So much earlier; saturates in the distant past.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)))
    }

    /// Time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or_default())
    }

    /// Whole seconds since 1970-01-01T00:00:00Z.
    pub const fn unix_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn unix_millis(self) -> i64 {
        self.0
    }

    /// As HTTP writes moments (RFC 9110 section 5.6.7); `None` out of its range.
    pub fn http_date(self) -> Option<String> {
        let stamp = jiff::Timestamp::from_second(self.unix_secs()).ok()?;
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&stamp).ok()
    }

    /// RFC 3339 in UTC with whole seconds, as the key file and the CLI write it.
    pub fn rfc3339(self) -> String {
        jiff::Timestamp::from_second(self.unix_secs())
            .map_or_else(|_| "out of range".to_owned(), |stamp| stamp.to_string())
    }
}

/// Lets something happen at most once in a while: a stranger must not fill the log.
#[derive(Debug, Default)]
pub struct Seldom {
    /// Milliseconds of the next moment at which it may.
    next: AtomicU64,
}

impl Seldom {
    /// True if it may happen `now`, and then not again for `pause`.
    pub fn may(&self, now: Moment, pause: Duration) -> bool {
        let after = now.as_millis().saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX));
        let due = |next: u64| (next <= now.as_millis()).then_some(after);
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }
}

/// Time that a test sets. Starts at monotonic zero and a fixed day.
#[derive(Debug)]
pub struct ManualClock {
    monotonic_nanos: AtomicU64,
    wall_millis: AtomicI64,
}

impl ManualClock {
    /// A clock that stands still at `wall`.
    pub fn at(wall: WallTime) -> Arc<Self> {
        Arc::new(Self { monotonic_nanos: AtomicU64::new(0), wall_millis: AtomicI64::new(wall.0) })
    }

    /// The [`Clock`] that reads this.
    pub fn clock(self: &Arc<Self>) -> Clock {
        Clock(Source::Manual(Arc::clone(self)))
    }

    /// Lets time pass on both clocks.
    pub fn advance(&self, by: Duration) {
        self.monotonic_nanos.fetch_add(saturating_nanos(by), Ordering::Relaxed);
        self.wall_millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

/// Nanoseconds on one of the system's clocks, which are always there. A request reads clocks several times: the standard library's
/// types take a pair of numbers apart and together each time.
fn nanos_of(clock: ClockId) -> u64 {
    clock.now().map_or(0, |time| {
        let [seconds, nanos] = [time.tv_sec(), time.tv_nsec()].map(|part| u64::try_from(part).unwrap_or(0));
        seconds * 1_000_000_000 + nanos
    })
}

const NANOS_PER_MILLI: u64 = 1_000_000;

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seldom() {
        let seldom = Seldom::default();
        let may = |secs: u64| seldom.may(Moment::from_nanos(secs * 1_000_000_000), Duration::from_secs(10));
        assert_eq!([0, 1, 9, 10, 11, 30].map(may), [true, false, false, true, false, true]);
    }
}
