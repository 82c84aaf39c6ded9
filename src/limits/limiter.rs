//! One limiter for one key or one address: governor's generic cell rate algorithm.

use std::time::Duration;

use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use super::rate::Rate;
use crate::clock::Clock;
use crate::denial::RetryAfter;

/// A limiter with its own state.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    cells: RateLimiter<NotKeyed, InMemoryState, Clock, StateInformationMiddleware>,
    clock: Clock,
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
    /// A full bucket.
    pub fn new(rate: Rate, clock: &Clock) -> Self {
        let quota = Quota::with_period(rate.interval())
            .unwrap_or_else(|| Quota::per_second(rate.count()))
            .allow_burst(rate.burst());
        let cells = RateLimiter::direct_with_clock(quota, clock.clone()).with_middleware();
        Self { rate, cells, clock: clock.clone() }
    }

    /// The rate that this limiter was made with.
    pub const fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The time until there will be one.
    pub fn take(&self) -> Result<Taken, RetryAfter> {
        match self.cells.check() {
            Ok(state) => Ok(Taken { rate: self.rate, remaining: state.remaining_burst_capacity() }),
            Err(not_until) => Err(RetryAfter::from_wait(not_until.wait_time_from(self.clock.monotonic()))),
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
    use crate::clock::{ManualClock, WallTime};

    #[test]
    fn bursts_then_waits() {
        let time = ManualClock::at(WallTime::default());
        let limiter = Limiter::new("60/min burst 3".parse().unwrap(), &time.clock());
        for left in [2, 1, 0] {
            assert_eq!(limiter.take().unwrap().remaining, left);
        }
        assert_eq!(limiter.take().unwrap_err().seconds(), 1);
        time.advance(Duration::from_millis(999));
        assert!(limiter.take().is_err());
        time.advance(Duration::from_millis(1));
        assert!(limiter.take().is_ok());
        assert!(limiter.take().is_err());
    }
}
