//! One limiter for one key or one address: governor's generic cell rate algorithm.

use std::cell::Cell;
use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::rate::Rate;
use crate::clock::Moment;
use crate::denial::RetryAfter;

/// A limiter with its own state.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    cells: RateLimiter<NotKeyed, InMemoryState, Given, StateInformationMiddleware>,
}

/// The moment that was given: whoever asks has read the clock already. It waits on the thread, and not beside each limiter, where it would
/// be one more place in memory to fetch for every request.
#[derive(Clone, Debug)]
struct Given;

thread_local! {
    static GIVEN: Cell<Moment> = const { Cell::new(Moment::from_nanos(0)) };
}

impl governor::clock::Clock for Given {
    type Instant = Moment;

    fn now(&self) -> Moment {
        GIVEN.get()
    }
}

/// Proof that a token was taken, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The rate that was applied.
    pub rate: Rate,
    /// Requests that could follow at once.
    pub remaining: u32,
}

impl Limiter {
    /// A full bucket at `now`.
    pub fn new(rate: Rate, now: Moment) -> Self {
        let quota = Quota::with_period(rate.interval())
            .unwrap_or_else(|| Quota::per_second(rate.count()))
            .allow_burst(rate.burst());
        GIVEN.set(now);
        Self { rate, cells: RateLimiter::direct_with_clock(quota, Given).with_middleware() }
    }

    /// The rate that this limiter was made with.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one token at `now`.
    ///
    /// # Errors
    /// The time until there will be one.
    pub fn take(&self, now: Moment) -> Result<Taken, RetryAfter> {
        GIVEN.set(now);
        match self.cells.check() {
            Ok(state) => Ok(Taken { rate: self.rate, remaining: state.remaining_burst_capacity() }),
            Err(not_until) => Err(RetryAfter::from_wait(not_until.wait_time_from(now))),
        }
    }
}

/// The value of `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers): policy `key`, quota, window.
pub fn policy_header(rate: Rate) -> String {
    let window: Duration = rate.window();
    format!("\"key\";q={};w={}", rate.count(), window.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_then_waits() {
        let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
        let limiter = Limiter::new("60/min burst 3".parse().unwrap(), at(0));
        for left in [2, 1, 0] {
            assert_eq!(limiter.take(at(0)).unwrap().remaining, left);
        }
        assert_eq!(limiter.take(at(0)).unwrap_err().seconds(), 1);
        assert!(limiter.take(at(999)).is_err());
        assert!(limiter.take(at(1_000)).is_ok());
        assert!(limiter.take(at(1_000)).is_err());
    }
}
