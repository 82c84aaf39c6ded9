//! What is known of a key beyond its file: counters, limiter, last use. Lives outside the snapshot and survives reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use dashmap::DashMap;

use super::key::KeyId;
use crate::clock::{Clock, WallTime};
use crate::denial::{Denial, REASONS, RetryAfter};
use crate::limits::limiter::{Limiter, Taken};
use crate::limits::rate::Rate;

/// Status classes `1xx` to `5xx`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One key's state.
#[derive(Debug)]
pub struct KeyState {
    limiter: ArcSwap<Limiter>,
    answered: [AtomicU64; CLASSES.len()],
    denied: [AtomicU64; REASONS.len()],
    last_used_millis: AtomicI64,
}

/// All keys' states, by id. Its size is that of the key file: a reload forgets the keys that are gone.
#[derive(Debug)]
pub struct KeyStates {
    by_id: DashMap<KeyId, Arc<KeyState>>,
    clock: Clock,
}

impl KeyStates {
    /// No keys yet.
    pub fn new(clock: &Clock) -> Self {
        Self { by_id: DashMap::new(), clock: clock.clone() }
    }

    /// The state of `id`, made if it is new; a changed rate takes effect at once, with a full bucket.
    pub fn of(&self, id: &KeyId, rate: Rate) -> Arc<KeyState> {
        let state =
            self.by_id.entry(id.clone()).or_insert_with(|| Arc::new(KeyState::new(rate, &self.clock)));
        if state.limiter.load().rate() != rate {
            state.limiter.store(Arc::new(Limiter::new(rate, &self.clock)));
        }
        Arc::clone(&state)
    }

    /// Forgets the keys that `keep` does not know.
    pub fn retain(&self, keep: impl Fn(&KeyId) -> bool) {
        self.by_id.retain(|id, _| keep(id));
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True without keys.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }
}

impl KeyState {
    fn new(rate: Rate, clock: &Clock) -> Self {
        Self {
            limiter: ArcSwap::from_pointee(Limiter::new(rate, clock)),
            answered: Default::default(),
            denied: std::array::from_fn(|_| AtomicU64::new(0)),
            last_used_millis: AtomicI64::new(0),
        }
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.limiter.load().rate()
    }

    /// Takes a token of the key's rate.
    ///
    /// # Errors
    /// The time until there will be one.
    pub fn take(&self) -> Result<Taken, RetryAfter> {
        self.limiter.load().take()
    }

    /// Notes that the key was proved at `now`.
    pub fn used(&self, now: WallTime) {
        self.last_used_millis.store(now.unix_millis(), Ordering::Relaxed);
    }

    /// The last time that the key was proved; `None` if never since the start.
    pub fn last_used(&self) -> Option<WallTime> {
        let millis = self.last_used_millis.load(Ordering::Relaxed);
        (millis != 0).then(|| WallTime::from_unix_secs(millis.div_euclid(1000)))
    }

    /// Counts an answer with this status.
    pub fn answered(&self, status: http::StatusCode) {
        if let Some(counter) = self.answered.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a refusal.
    pub fn denied(&self, denial: Denial) {
        if let Some(counter) = self.denied.get(denial.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers by class that happened at all.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(&CLASSES, &self.answered)
    }

    /// Refusals by reason that happened at all.
    pub fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        counts(&REASONS, &self.denied)
    }
}

fn counts(
    names: &'static [&'static str],
    counters: &[AtomicU64],
) -> impl Iterator<Item = (&'static str, u64)> {
    names
        .iter()
        .copied()
        .zip(counters.iter().map(|counter| counter.load(Ordering::Relaxed)))
        .filter(|(_, count)| *count > 0)
}
