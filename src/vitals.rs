//! Whether what must go on goes on: threads that serve, and tasks in the background. `/healthz` and the watchdog ask here.
//!
//! A thread that is stuck cannot say so: it is known by the beat that does not come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::{Clock, Moment};

/// Time between two beats of a thread.
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// A thread that was not heard of for so long is stuck.
const STUCK: Duration = Duration::from_secs(10);

/// All that must go on; clones share it.
#[derive(Clone, Debug)]
pub struct Vitals {
    organs: Arc<Mutex<Vec<Organ>>>,
    clock: Clock,
}

#[derive(Debug)]
struct Organ {
    name: &'static str,
    state: Arc<State>,
}

/// Nanoseconds of the last beat, or one of the words below.
#[derive(Debug)]
struct State(AtomicU64);

/// It needs no beats: it says when it is down.
const UP: u64 = u64::MAX;
const DOWN: u64 = u64::MAX - 1;

/// A thread's beat.
#[derive(Debug)]
pub struct Beat {
    state: Arc<State>,
    clock: Clock,
}

/// A task's word on itself.
#[derive(Debug)]
pub struct Task(Arc<State>);

impl Vitals {
    /// Nothing yet.
    pub fn new(clock: &Clock) -> Self {
        Self { organs: Arc::default(), clock: clock.clone() }
    }

    /// A thread, from now on heard every [`BEAT_EVERY`].
    pub fn thread(&self, name: &'static str) -> Beat {
        let state = self.add(name, self.clock.monotonic().as_nanos());
        Beat { state, clock: self.clock.clone() }
    }

    /// A task in the background, from now on up.
    pub fn task(&self, name: &'static str) -> Task {
        Task(self.add(name, UP))
    }

    fn add(&self, name: &'static str, state: u64) -> Arc<State> {
        let state = Arc::new(State(AtomicU64::new(state)));
        self.organs.lock().push(Organ { name, state: Arc::clone(&state) });
        state
    }

    /// What does not go on; `None` if all is well.
    pub fn unwell(&self) -> Option<&'static str> {
        self.find(|state, now| state == DOWN || is_stuck(state, now))
    }

    /// A thread that is stuck, which only a new process can mend.
    pub fn stuck(&self) -> Option<&'static str> {
        self.find(is_stuck)
    }

    fn find(&self, is_unwell: impl Fn(u64, Moment) -> bool) -> Option<&'static str> {
        let now = self.clock.monotonic();
        let organs = self.organs.lock();
        let found = organs.iter().find(|organ| is_unwell(organ.state.0.load(Ordering::Relaxed), now));
        found.map(|organ| organ.name)
    }
}

fn is_stuck(state: u64, now: Moment) -> bool {
    ![UP, DOWN].contains(&state) && now.since(Moment::from_nanos(state)) > STUCK
}

impl Beat {
    /// The thread moves.
    pub fn beat(&self) {
        self.state.0.store(self.clock.monotonic().as_nanos(), Ordering::Relaxed);
    }
}

impl Task {
    /// It runs.
    pub fn up(&self) {
        self.0.0.store(UP, Ordering::Relaxed);
    }

    /// It does not.
    pub fn down(&self) {
        self.0.0.store(DOWN, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, WallTime};

    #[test]
    fn one_that_is_stuck_or_down_is_named() {
        let time = ManualClock::at(WallTime::default());
        let vitals = Vitals::new(&time.clock());
        assert_eq!(vitals.unwell(), None);
        let (one, other) = (vitals.thread("one"), vitals.thread("other"));
        let task = vitals.task("task");
        time.advance(STUCK);
        assert_eq!(vitals.unwell(), None);
        other.beat();
        time.advance(BEAT_EVERY);
        assert_eq!((vitals.unwell(), vitals.stuck()), (Some("one"), Some("one")));
        one.beat();
        assert_eq!(vitals.unwell(), None);
        task.down();
        assert_eq!((vitals.unwell(), vitals.stuck()), (Some("task"), None));
        task.up();
        assert_eq!(vitals.unwell(), None);
    }
}
