//! Connections to one address that wait for a request, on one thread.

use std::time::Duration;

use prometheus::IntGauge;
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::clock::Moment;
use crate::proxy::line::{Heard, Line};

/// The connections.
#[derive(Default)]
pub(super) struct Pool {
    /// Oldest first.
    waiting: Vec<Waiting>,
    /// Somebody looks after it.
    reaped: bool,
    turns: Turns,
}

/// A connection that rested for so long is looked into before its next use.
const LOOKED_INTO_AFTER: Duration = Duration::from_millis(500);

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
    /// The runtime's turn at that moment.
    turn: u64,
}

/// How often the runtime of this thread has asked its sockets for news: each time that it parks.
#[derive(Default)]
struct Turns(Option<RuntimeMetrics>);

impl Turns {
    #[inline]
    fn now(&mut self) -> u64 {
        self.0.get_or_insert_with(|| Handle::current().metrics()).worker_park_count(0)
    }
}

impl Pool {
    /// A connection that can take a request. The one that was used last is the least likely to have gone stale; but before one that was
    /// given back in this very turn comes one of an earlier turn: of that all has been heard, and its socket need not be
    /// looked into.
    #[inline]
    pub(super) fn take(&mut self, keeping: &Keeping, now: Moment) -> Option<Box<Line>> {
        let present = self.turns.now();
        loop {
            let heard = self.waiting.iter().rposition(|waiting| waiting.turn != present);
            let at = heard.or_else(|| self.waiting.len().checked_sub(1))?;
            let Waiting { mut line, since, turn } = self.waiting.remove(at);
            keeping.gauge.dec();
            let idle = now.since(since);
            // A CRM ends a connection because it rested: then the socket is asked.
            let heard =
                if turn != present && idle < LOOKED_INTO_AFTER { Heard::News } else { Heard::Nothing };
            if idle < keeping.keep_alive && line.is_ready(heard) {
                return Some(line);
            }
        }
    }

    /// Puts it last, if it is through and there are not enough; true if it was put there and nobody looks after them yet.
    #[inline]
    pub(super) fn keep(&mut self, keeping: &Keeping, mut line: Box<Line>, since: Moment) -> bool {
        if !line.is_through() || self.waiting.len() >= keeping.most {
            return false;
        }
        let turn = self.turns.now();
        self.waiting.push(Waiting { line, since, turn });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_is_over_when_the_runtime_has_asked_its_sockets() {
        let mut turns = Turns::default();
        let first = turns.now();
        assert_eq!(turns.now(), first);
        let (mut near, mut far) = tokio::io::duplex(8);
        tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut far, b"x").await });
        tokio::io::AsyncReadExt::read_u8(&mut near).await.unwrap();
        assert_eq!(turns.now(), first, "other tasks had their turn, and nothing was asked");
        // Another thread wakes it, so it must have gone to sleep.
        tokio::task::spawn_blocking(|| ()).await.unwrap();
        assert!(turns.now() > first);
    }
}
