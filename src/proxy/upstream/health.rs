//! How one address fares: out after failures in a row, tried again after a pause that grows, in again with the first success.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Moment;
use crate::metrics::AddressStats;

/// From being put out to the first try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause where nothing else is left: a CRM that is back must be found soon.
const LONE_PAUSE: Duration = Duration::from_secs(1);
/// A try that has no answer after this long does not keep others from trying.
const MOST_TRYING: Duration = Duration::from_secs(5);

/// What speaks against an address. Its own errors (5xx) do not: they are the application's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// It took no connection, or none in time.
    Unconnected,
    /// It gave no answer in time, and has answered nothing else since that was asked.
    Silent,
    /// Its answer was not HTTP, or its connection broke before one.
    Broken,
}

/// When to put it out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// Failures in a row; 0 for never.
    pub(super) max_fails: u32,
    /// The longest pause.
    pub(super) max_pause: Duration,
}

/// Whether a request may go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// Yes.
    Go,
    /// It may be the one that tries whether the address is back.
    Try,
    /// Not before this time has passed.
    Wait(Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed {
        failures: u32,
    },
    Open(Outage),
    /// Somebody tries, since then.
    Trying(Outage, Moment),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Outage {
    why: Evidence,
    /// When it began, or the last try failed.
    since: Moment,
    pause: Duration,
}

/// What the health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Well { failed: u32 },
    Ill { passed: u32 },
}

#[derive(Debug)]
struct Standing {
    circuit: Circuit,
    check: Check,
}

impl Standing {
    const NEW: Self = Self { circuit: Circuit::Closed { failures: 0 }, check: Check::Well { failed: 0 } };

    const fn is_in(&self) -> bool {
        matches!((self.circuit, self.check), (Circuit::Closed { .. }, Check::Well { .. }))
    }

    const fn is_untroubled(&self) -> bool {
        matches!((self.circuit, self.check), (Circuit::Closed { failures: 0 }, Check::Well { .. }))
    }

    /// `lone`: no other address is in.
    fn ask(&mut self, now: Moment, lone: bool) -> Leave {
        if let Check::Ill { .. } = self.check {
            // The checks bring it back, not requests.
            return Leave::Wait(LONE_PAUSE);
        }
        let (outage, wait) = match self.circuit {
            Circuit::Closed { .. } => return Leave::Go,
            Circuit::Open(outage) => {
                let pause = if lone { outage.pause.min(LONE_PAUSE) } else { outage.pause };
                (outage, pause.saturating_sub(now.since(outage.since)))
            }
            Circuit::Trying(outage, since) => (outage, MOST_TRYING.saturating_sub(now.since(since))),
        };
        if wait.is_zero() {
            self.circuit = Circuit::Trying(outage, now);
            return Leave::Try;
        }
        Leave::Wait(wait.min(LONE_PAUSE))
    }

    fn failed(&mut self, why: Evidence, rules: Rules, now: Moment) {
        self.circuit = match self.circuit {
            Circuit::Closed { failures } => {
                let failures = failures.saturating_add(1);
                if rules.max_fails > 0 && failures >= rules.max_fails {
                    Circuit::Open(Outage { why, since: now, pause: FIRST_PAUSE })
                } else {
                    Circuit::Closed { failures }
                }
            }
            // What was under way when it went out says nothing new.
            Circuit::Open(outage) => Circuit::Open(outage),
            Circuit::Trying(outage, _) => {
                let pause = outage.pause.saturating_mul(2).min(rules.max_pause);
                Circuit::Open(Outage { why, since: now, pause })
            }
        };
    }

    /// A try ended without telling anything: the next one need not wait.
    fn gave_up(&mut self, began: Moment) {
        if let Circuit::Trying(outage, since) = self.circuit
            && since == began
        {
            self.circuit = Circuit::Open(Outage { since: Moment::default(), ..outage });
        }
    }

    /// It took a connection: enough where it took none before.
    fn connected(&mut self) {
        if let Circuit::Open(outage) | Circuit::Trying(outage, _) = self.circuit
            && outage.why == Evidence::Unconnected
        {
            self.answered();
        }
    }

    const fn answered(&mut self) {
        self.circuit = Circuit::Closed { failures: 0 };
    }

    fn check_failed(&mut self, fall: u32) {
        self.check = match self.check {
            Check::Well { failed } if failed.saturating_add(1) < fall => Check::Well { failed: failed + 1 },
            Check::Well { .. } | Check::Ill { .. } => Check::Ill { passed: 0 },
        };
    }

    fn check_passed(&mut self, rise: u32) {
        // A connection was made for it, too.
        self.connected();
        self.check = match self.check {
            Check::Ill { passed } if passed.saturating_add(1) < rise => Check::Ill { passed: passed + 1 },
            Check::Well { .. } | Check::Ill { .. } => Check::Well { failed: 0 },
        };
    }
}

/// No error, where all is well.
const NOTHING: &str = "";
/// What requests look at first.
const UNTROUBLED: u8 = 0;
const TROUBLED: u8 = 1;
const OUT: u8 = 2;

/// How an address fares, for all threads.
pub(super) struct Health {
    name: String,
    rules: Rules,
    /// [`UNTROUBLED`], [`TROUBLED`] or [`OUT`]: what `standing` comes to.
    glance: AtomicU8,
    /// Answers so far.
    answers: AtomicU64,
    standing: Mutex<Standing>,
    /// People were told that it cannot be reached.
    told: AtomicBool,
    stats: AddressStats,
}

impl Health {
    /// Of the address that people know by `name`; presumed to be well.
    pub(super) const fn new(name: String, rules: Rules, stats: AddressStats) -> Self {
        Self {
            name,
            rules,
            glance: AtomicU8::new(UNTROUBLED),
            answers: AtomicU64::new(0),
            standing: Mutex::new(Standing::NEW),
            told: AtomicBool::new(false),
            stats,
        }
    }

    /// True if nothing was wrong lately.
    #[inline]
    pub(super) fn is_untroubled(&self) -> bool {
        self.glance.load(Ordering::Relaxed) == UNTROUBLED
    }

    /// True if requests go there.
    pub(super) fn is_in(&self) -> bool {
        self.glance.load(Ordering::Relaxed) != OUT
    }

    /// How many answers came so far, to tell later whether others came meanwhile.
    #[inline]
    pub(super) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether a request may go there `now`; `lone` where no other address is in.
    pub(super) fn ask(&self, now: Moment, lone: bool) -> Leave {
        if self.is_untroubled() { Leave::Go } else { self.standing.lock().ask(now, lone) }
    }

    /// The head of an answer came.
    #[inline]
    pub(super) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
        if !self.is_untroubled() {
            self.note(&NOTHING, Standing::answered);
        }
    }

    /// A connection was made.
    pub(super) fn connected(&self) {
        if !self.is_untroubled() {
            self.note(&NOTHING, Standing::connected);
        }
    }

    /// Something went wrong.
    pub(super) fn failed(&self, why: Evidence, error: &dyn std::fmt::Display, now: Moment) {
        let is_in = self.note(error, |standing| standing.failed(why, self.rules, now));
        if is_in && why == Evidence::Unconnected && !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(crm = %self.name, %error, "the CRM cannot be reached");
        }
    }

    /// Another address is asked in its place.
    pub(super) fn passed_over(&self) {
        self.stats.retries.inc();
    }

    /// A request that tried it ended without telling anything.
    fn gave_up(&self, began: Moment) {
        self.standing.lock().gave_up(began);
    }

    /// The health check failed; it is out after `fall` of them in a row.
    pub(super) fn check_failed(&self, error: &dyn std::fmt::Display, fall: u32) {
        self.note(error, |standing| standing.check_failed(fall));
    }

    /// The health check succeeded; it is in again after `rise` of them in a row.
    pub(super) fn check_passed(&self, rise: u32) {
        self.note(&NOTHING, |standing| standing.check_passed(rise));
    }

    /// Lets `event` happen; true if the address is in after it. Each change is said once: a CRM that is down must not fill the log.
    fn note(&self, error: &dyn std::fmt::Display, event: impl FnOnce(&mut Standing)) -> bool {
        let mut standing = self.standing.lock();
        let was_in = standing.is_in();
        event(&mut standing);
        let (is_in, is_untroubled) = (standing.is_in(), standing.is_untroubled());
        let glance = match (is_untroubled, is_in) {
            (true, _) => UNTROUBLED,
            (false, true) => TROUBLED,
            (false, false) => OUT,
        };
        self.glance.store(glance, Ordering::Relaxed);
        self.stats.up.set(i64::from(is_in));
        if was_in && !is_in {
            self.stats.ejections.inc();
            self.told.store(true, Ordering::Relaxed);
            tracing::warn!(crm = %self.name, %error, "no requests go to this address of the CRM for now");
        } else if (is_untroubled || !was_in && is_in) && self.told.swap(false, Ordering::Relaxed) {
            tracing::info!(crm = %self.name, "the CRM can be reached again");
        }
        is_in
    }
}

/// Tells if a request that tries an address ends without an answer, as when its client hangs up.
pub(super) struct Trying<'a>(pub(super) &'a Health, pub(super) Moment);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.gave_up(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { max_fails: 3, max_pause: Duration::from_secs(4) };

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn out(why: Evidence) -> Standing {
        let mut standing = Standing::NEW;
        (0..3).for_each(|_| standing.failed(why, RULES, at(0)));
        assert!(!standing.is_in());
        standing
    }

    fn wait(millis: u64) -> Leave {
        Leave::Wait(Duration::from_millis(millis))
    }

    #[test]
    fn out_after_failures_in_a_row_only() {
        let mut standing = Standing::NEW;
        for _ in 0..9 {
            standing.failed(Evidence::Unconnected, RULES, at(0));
            standing.failed(Evidence::Silent, RULES, at(0));
            assert!(standing.is_in() && !standing.is_untroubled() && standing.ask(at(0), true) == Leave::Go);
            standing.answered();
            assert!(standing.is_untroubled());
        }
        let never = Rules { max_fails: 0, ..RULES };
        (0..99).for_each(|_| standing.failed(Evidence::Unconnected, never, at(0)));
        assert!(standing.is_in());
    }

    #[test]
    fn one_tries_after_a_pause_that_grows_to_a_bound() {
        let mut standing = out(Evidence::Unconnected);
        assert_eq!(standing.ask(at(499), false), wait(1));
        let mut now = 0;
        for pause in [500, 1000, 2000, 4000, 4000] {
            assert_ne!(standing.ask(at(now + pause - 1), false), Leave::Try, "{pause}");
            now += pause;
            assert_eq!(standing.ask(at(now), false), Leave::Try, "{pause}");
            assert_eq!(standing.ask(at(now), false), wait(1000), "one at a time");
            standing.failed(Evidence::Unconnected, RULES, at(now));
        }
        // Nothing else is left.
        assert_eq!(standing.ask(at(now + 999), true), wait(1));
        assert_eq!(standing.ask(at(now + 1000), true), Leave::Try);
        standing.connected();
        assert!(standing.is_untroubled());
    }

    #[test]
    fn a_try_that_ends_or_hangs_does_not_keep_others_from_it() {
        let mut standing = out(Evidence::Silent);
        assert_eq!(standing.ask(at(500), true), Leave::Try);
        standing.gave_up(at(500));
        assert_eq!(standing.ask(at(5000), true), Leave::Try);
        assert_eq!(standing.ask(at(9999), true), wait(1));
        assert_eq!(standing.ask(at(10_000), true), Leave::Try);
        standing.gave_up(at(5000));
        assert_eq!(standing.ask(at(10_001), true), wait(1000), "that was another's try");
        standing.answered();
        standing.gave_up(at(10_000));
        assert!(standing.is_untroubled());
    }

    #[test]
    fn who_gave_no_answers_is_not_back_by_taking_connections() {
        for why in [Evidence::Silent, Evidence::Broken] {
            let mut standing = out(why);
            standing.connected();
            assert!(!standing.is_in());
            standing.check_passed(1);
            assert!(!standing.is_in());
            standing.answered();
            assert!(standing.is_in());
        }
    }

    #[test]
    fn checks_put_out_and_in() {
        let mut standing = Standing::NEW;
        standing.check_failed(2);
        standing.check_passed(2);
        standing.check_failed(2);
        assert!(standing.is_in());
        standing.check_failed(2);
        assert_eq!(standing.ask(at(60_000), true), wait(1000), "requests do not try what checks put out");
        standing.answered();
        standing.check_passed(2);
        standing.check_failed(2);
        standing.check_passed(2);
        assert!(!standing.is_in());
        standing.check_passed(2);
        assert!(standing.is_untroubled());
    }

    #[test]
    fn what_was_under_way_does_not_lengthen_the_pause() {
        let mut standing = out(Evidence::Unconnected);
        standing.failed(Evidence::Unconnected, RULES, at(400));
        assert_eq!(standing.ask(at(500), false), Leave::Try);
    }
}
