//! Connections to one address that wait for a request, on one thread.

use std::time::Duration;

use prometheus::IntGauge;

use crate::clock::Moment;
use crate::proxy::line::Line;

/// The connections, and how many and how long they may wait.
pub(super) struct Pool {
    /// Oldest first.
    waiting: Vec<Waiting>,
    most: usize,
    keep_alive: Duration,
    gauge: IntGauge,
    /// Somebody looks after it.
    pub(super) reaped: bool,
}

struct Waiting {
    line: Line,
    since: Moment,
}

impl Pool {
    pub(super) const fn new(most: usize, keep_alive: Duration, gauge: IntGauge) -> Self {
        Self { waiting: Vec::new(), most, keep_alive, gauge, reaped: false }
    }

    /// The connection that was used last: it is the least likely to have gone stale.
    pub(super) fn take(&mut self, now: Moment) -> Option<Line> {
        while let Some(Waiting { mut line, since }) = self.waiting.pop() {
            self.gauge.dec();
            if now.since(since) < self.keep_alive && line.is_ready() {
                return Some(line);
            }
        }
        None
    }

    /// False if it is not kept: it is not through, or there are enough.
    pub(super) fn keep(&mut self, mut line: Line, since: Moment) -> bool {
        let kept = line.is_through() && self.waiting.len() < self.most;
        if kept {
            self.waiting.push(Waiting { line, since });
            self.gauge.inc();
        }
        kept
    }

    /// Drops what has waited too long; false when nothing is left and the reaper may end.
    pub(super) fn reap(&mut self, now: Moment) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|waiting| now.since(waiting.since) < self.keep_alive);
        let after = self.waiting.len();
        self.gauge.sub(i64::try_from(before - after).unwrap_or(0));
        self.reaped = after > 0;
        after > 0
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.gauge.sub(i64::try_from(self.waiting.len()).unwrap_or(0));
    }
}
