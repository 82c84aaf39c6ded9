//! The streams of one HTTP/2 connection, as far as they can be abused.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::super::patience::Patience;
use crate::config::Timeouts;

/// So many requests taken back within [`WINDOW`] end the connection: whether by the client itself (CVE-2023-44487), or by an
/// error that makes us do it (CVE-2025-8671).
const MOST_RESETS: u32 = 200;
const WINDOW: Duration = Duration::from_secs(30);

/// The open streams of a connection.
#[derive(Debug)]
pub(super) struct Streams {
    state: Mutex<State>,
    /// Told when there is cause to look at once.
    cause: Notify,
}

#[derive(Debug)]
struct State {
    open: HashMap<u64, Reading>,
    next: u64,
    /// When the last one ended, or the connection began.
    idle_since: Instant,
    window: Instant,
    resets: u32,
}

/// How the client reads one answer.
#[derive(Clone, Copy, Debug)]
struct Reading {
    patience: Patience,
    /// Bytes that were given, and go when the client makes room for more.
    given: usize,
}

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    /// Nothing was asked for long.
    Idle,
    /// Too much was asked and taken back.
    Flood,
    /// What was asked is not read.
    Stalled,
}

/// One open stream; dropping it closes it.
#[derive(Debug)]
pub(super) struct Guard {
    streams: Arc<Streams>,
    number: u64,
    end: End,
}

/// How a stream ended, should it end now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    TakenBack,
    Done,
}

impl Streams {
    pub(super) fn new() -> Arc<Self> {
        let now = Instant::now();
        let state = State { open: HashMap::new(), next: 0, idle_since: now, window: now, resets: 0 };
        Arc::new(Self { state: Mutex::new(state), cause: Notify::new() })
    }

    /// True while there are any.
    pub(super) fn are_open(&self) -> bool {
        !self.state.lock().open.is_empty()
    }

    /// Waits until the connection must end. A head counts from its end, not from its beginning, so whoever drips one is idle.
    pub(super) async fn doom(&self, timeouts: &Timeouts) -> Doom {
        loop {
            let now = Instant::now();
            let look_again = match self.state.lock().look(now, timeouts) {
                Ok(next) => next,
                Err(doom) => return doom,
            };
            // Whatever comes first.
            drop(timeout_at(look_again, self.cause.notified()).await);
        }
    }
}

impl State {
    /// When to look again, if nothing is wrong.
    fn look(&self, now: Instant, timeouts: &Timeouts) -> Result<Instant, Doom> {
        if self.resets > MOST_RESETS {
            return Err(Doom::Flood);
        }
        if self.open.is_empty() {
            let limit = if self.next == 0 { timeouts.request_head } else { timeouts.keep_alive };
            let due = self.idle_since + limit;
            return if due <= now { Err(Doom::Idle) } else { Ok(due) };
        }
        match self.open.values().filter_map(|reading| reading.patience.ends()).min() {
            Some(due) if due <= now => Err(Doom::Stalled),
            Some(due) => Ok(due),
            None => Ok(now + timeouts.client_write_idle.min(timeouts.keep_alive)),
        }
    }

    fn reset(&mut self, now: Instant) {
        if now.duration_since(self.window) > WINDOW {
            (self.window, self.resets) = (now, 0);
        }
        self.resets += 1;
    }
}

impl Guard {
    /// Its client may take `patience` to read nothing.
    pub(super) fn new(streams: &Arc<Streams>, patience: Duration) -> Self {
        let mut state = streams.state.lock();
        let number = state.next;
        state.next += 1;
        if state.open.is_empty() {
            streams.cause.notify_one();
        }
        state.open.insert(number, Reading { patience: Patience::new(patience), given: 0 });
        Self { streams: Arc::clone(streams), number, end: End::TakenBack }
    }

    /// More of the answer can be sent: what was given before is gone.
    pub(super) fn asked(&self) {
        self.note(|reading| {
            let bytes = std::mem::take(&mut reading.given);
            reading.patience.moved(bytes, Instant::now);
        });
    }

    /// So many bytes of the answer were given; more are asked for when the client makes room.
    pub(super) fn given(&self, bytes: usize) {
        self.note(|reading| {
            reading.given = reading.given.saturating_add(bytes);
            reading.patience.waits(Instant::now);
        });
    }

    /// The answer is whole.
    pub(super) const fn done(&mut self) {
        self.end = End::Done;
    }

    fn note(&self, what: impl FnOnce(&mut Reading)) {
        if let Some(reading) = self.streams.state.lock().open.get_mut(&self.number) {
            what(reading);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.streams.state.lock();
        state.open.remove(&self.number);
        state.idle_since = now;
        if self.end == End::TakenBack {
            state.reset(now);
            if state.resets > MOST_RESETS {
                self.streams.cause.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeouts() -> Timeouts {
        let source = crate::config::source::Source {
            path: "x.toml".into(),
            text: "[server]\nlisten = [\"127.0.0.1:0\"]\n[upstream]\nurl = \"http://127.0.0.1:1\"".to_owned(),
        };
        crate::config::parse(&source, &crate::config::environment::Environment::Unread)
            .config
            .unwrap()
            .timeouts
    }

    #[test]
    fn idle_stalled_and_flooded() {
        let (streams, timeouts) = (Streams::new(), timeouts());
        let start = streams.state.lock().idle_since;
        let look = |after: Duration| streams.state.lock().look(start + after, &timeouts).map(drop);
        let secs = Duration::from_secs;
        assert_eq!(look(secs(9)), Ok(()));
        assert_eq!(look(secs(10)), Err(Doom::Idle), "nothing was asked at all");
        let mut first = Guard::new(&streams, timeouts.client_write_idle);
        assert_eq!(look(secs(3600)), Ok(()), "a request takes as long as it takes");
        first.given(1);
        assert_eq!(look(secs(3600)), Err(Doom::Stalled));
        first.asked();
        assert_eq!(look(secs(3600)), Ok(()));
        first.done();
        drop(first);
        assert_eq!((look(secs(50)), look(secs(70))), (Ok(()), Err(Doom::Idle)));
        for _ in 0..=MOST_RESETS {
            assert_ne!(look(secs(0)), Err(Doom::Flood));
            drop(Guard::new(&streams, timeouts.client_write_idle));
        }
        assert_eq!(look(secs(0)), Err(Doom::Flood));
    }
}
