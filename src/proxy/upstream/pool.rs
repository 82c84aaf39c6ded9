//! Connections to one address that wait for a request, on one thread.

use std::time::Duration;

use prometheus::IntGauge;

use crate::clock::Moment;
use crate::proxy::line::Line;

/// The connections.
#[derive(Default)]
pub(super) struct Pool {
    /// Oldest first.
    waiting: Vec<Waiting>,
    /// Somebody looks after it.
    reaped: bool,
}

/// How connections are kept.
pub(super) struct Keeping {
    /// Idle ones, per thread.
    pub(super) most: usize,
    /// How long.
    pub(super) keep_alive: Duration,
    /// How many there are.
    pub(super) gauge: IntGauge,
}

struct Waiting {
    /// Boxed, because it moves several times with each request.
    line: Box<Line>,
    since: Moment,
}

impl Pool {
    /// The connection that was used last: it is the least likely to have gone stale.
    #[inline]
    pub(super) fn take(&mut self, keeping: &Keeping, now: Moment) -> Option<Box<Line>> {
        while let Some(Waiting { mut line, since }) = self.waiting.pop() {
            keeping.gauge.dec();
            let idle = now.since(since);
            if idle < keeping.keep_alive && line.is_ready(idle) {
                return Some(line);
            }
        }
        None
    }

    /// Puts it last, if it is through and there are not enough; true if it was put there and nobody looks after them yet.
    #[inline]
    pub(super) fn keep(&mut self, keeping: &Keeping, mut line: Box<Line>, since: Moment) -> bool {
        if !line.is_through() || self.waiting.len() >= keeping.most {
            return false;
        }
        self.waiting.push(Waiting { line, since });
        keeping.gauge.inc();
        !std::mem::replace(&mut self.reaped, true)
    }

    /// Drops what has waited too long; false when nothing is left and the reaper may end.
    pub(super) fn reap(&mut self, keeping: &Keeping, now: Moment) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| now.since(waiting.since) < keeping.keep_alive);
        let after = self.waiting.len();
        keeping.gauge.sub(i64::try_from(before - after).unwrap_or(0));
        self.reaped = after > 0;
        after > 0
    }

    /// How many wait.
    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }
}
