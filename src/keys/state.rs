//! What is known of a key beyond its file: counters, limiter, last use. Lives outside the snapshot and survives reloads.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use dashmap::DashMap;
use parking_lot::Mutex;

use super::key::KeyId;
use super::last_used::{LastUsed, PreviousUse, Uses};
use super::origins::Origins;
use super::origins_file::KnownOrigins;
use crate::clock::{Clock, WallTime};
use crate::credential::api_key::KeyDigest;
use crate::denial::{Denial, Observed, REASONS};
use crate::limits::limiter::Limiter;
use crate::limits::rate::Rate;

/// Status classes `1xx` to `5xx`.
pub const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// One key's state. In this order: what every request touches lies together.
#[derive(Debug)]
#[repr(C)]
pub struct KeyState {
    last_used_millis: AtomicI64,
    answered: [AtomicU64; CLASSES.len()],
    /// From where it is used.
    pub origins: Origins,
    denied: [AtomicU64; REASONS.len()],
    observed: [AtomicU64; Observed::ALL.len()],
    limiter: ArcSwap<Limiter>,
    first_use: ArcSwapOption<FirstUse>,
    previous: ArcSwapOption<PreviousUses>,
}

/// Uses of one secret that a rotation replaced.
#[derive(Debug)]
pub struct PreviousUses {
    digest: KeyDigest,
    /// How many, the last one, and from where it came. Few use an old secret, so a lock does no harm.
    known: Mutex<(u64, Option<WallTime>, Option<IpAddr>)>,
}

impl PreviousUses {
    /// Notes a use at `now`, and from where, if that is certain.
    pub fn note(&self, now: WallTime, from: Option<IpAddr>) {
        let mut known = self.known.lock();
        *known = (known.0 + 1, Some(now), from);
    }

    /// How many there were, and the last one.
    pub fn count_and_last(&self) -> (u64, Option<WallTime>) {
        let known = self.known.lock();
        (known.0, known.1)
    }

    fn use_of(&self) -> Option<PreviousUse> {
        let (count, last, from) = *self.known.lock();
        Some(PreviousUse { digest: self.digest, last: last?, count, from })
    }
}

/// When one secret was first used, as far as this process knows.
#[derive(Debug)]
pub struct FirstUse {
    digest: KeyDigest,
    /// 0 for never.
    millis: AtomicI64,
}

impl FirstUse {
    /// Notes a use; only the first one counts.
    pub fn note(&self, now: WallTime) {
        if self.millis.load(Ordering::Relaxed) == 0 {
            // Whoever comes second finds it noted, which is as good.
            let _ = self.millis.compare_exchange(0, now.unix_millis(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// The first use; `None` if there was none, as far as is known.
    pub fn at(&self) -> Option<WallTime> {
        moment(&self.millis)
    }
}

/// All keys' states, by id. Its size is that of the key file: a reload forgets the keys that are gone.
#[derive(Debug)]
pub struct KeyStates {
    by_id: DashMap<KeyId, Arc<KeyState>>,
    clock: Clock,
    /// What an earlier process knew.
    before: (LastUsed, KnownOrigins),
}

impl KeyStates {
    /// No keys yet.
    pub fn new(clock: &Clock) -> Self {
        Self::after((LastUsed::default(), KnownOrigins::default()), clock)
    }

    /// No keys yet, and what an earlier process knew of them.
    pub fn after(before: (LastUsed, KnownOrigins), clock: &Clock) -> Self {
        Self { by_id: DashMap::new(), clock: clock.clone(), before }
    }

    /// What is known now.
    pub fn last_used(&self) -> LastUsed {
        let uses = |state: &KeyState| {
            let first = state.first_use.load();
            let first = first.as_ref().and_then(|first| Some((first.digest, first.at()?)));
            Uses {
                any: moment(&state.last_used_millis),
                previous: state.previous.load().as_ref().and_then(|previous| previous.use_of()),
                first,
            }
        };
        let known = self.by_id.iter().map(|entry| (entry.key().clone(), uses(entry.value())));
        LastUsed::of_known(known.filter(|(_, uses)| *uses != Uses::default()))
    }

    /// From where keys are used, as far as is known now.
    pub fn origins(&self) -> KnownOrigins {
        let seen = |entry: dashmap::mapref::multiple::RefMulti<'_, KeyId, Arc<KeyState>>| {
            (entry.key().clone(), entry.value().origins.seen())
        };
        KnownOrigins::of_known(self.by_id.iter().map(seen))
    }

    /// Adds the uses that another process saw after this one read what was known before.
    pub fn learn_uses(&self, later: &LastUsed) {
        for entry in &self.by_id {
            let (uses, known_before) = (later.of(entry.key()), self.before.0.of(entry.key()));
            entry.value().learn(uses, known_before);
        }
    }

    /// Adds from where another process saw keys used.
    pub fn learn_origins(&self, later: &KnownOrigins) {
        for entry in &self.by_id {
            if let Some(seen) = later.of(entry.key()) {
                entry.value().origins.learn(seen);
            }
        }
    }

    /// The state of `id`, made if it is new; a changed rate takes effect at once, with a full bucket.
    pub fn of(&self, id: &KeyId, rate: Rate) -> Arc<KeyState> {
        let state = self.by_id.entry(id.clone()).or_insert_with(|| Arc::new(self.new_state(id, rate)));
        if state.limiter.load().rate() != rate {
            state.limiter.store(Arc::new(Limiter::new(rate, self.clock.monotonic())));
        }
        Arc::clone(&state)
    }

    fn new_state(&self, id: &KeyId, rate: Rate) -> KeyState {
        let (last_used, origins) = &self.before;
        let seen = origins.of(id).cloned().unwrap_or_default();
        let state = KeyState { origins: Origins::after(seen), ..KeyState::new(rate, &self.clock) };
        let Uses { any, previous, first } = last_used.of(id);
        state.last_used_millis.store(any.map_or(0, WallTime::unix_millis), Ordering::Relaxed);
        if let Some(PreviousUse { digest, last, count, from }) = previous {
            let known = Mutex::new((count, Some(last), from));
            state.previous.store(Some(Arc::new(PreviousUses { digest, known })));
        }
        if let Some((digest, at)) = first {
            let first = FirstUse { digest, millis: AtomicI64::new(at.unix_millis()) };
            state.first_use.store(Some(Arc::new(first)));
        }
        state
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
            limiter: ArcSwap::from_pointee(Limiter::new(rate, clock.monotonic())),
            answered: Default::default(),
            denied: std::array::from_fn(|_| AtomicU64::new(0)),
            observed: Default::default(),
            last_used_millis: AtomicI64::new(0),
            origins: Origins::default(),
            first_use: ArcSwapOption::empty(),
            previous: ArcSwapOption::empty(),
        }
    }

    fn learn(&self, later: Uses, before: Uses) {
        if let Some(any) = later.any {
            self.last_used_millis.fetch_max(any.unix_millis(), Ordering::Relaxed);
        }
        if let (Some((digest, at)), Some(first)) = (later.first, self.first_use.load_full())
            && first.digest == digest
        {
            first.note(at);
        }
        if let (Some(later), Some(previous)) = (later.previous, self.previous.load_full())
            && previous.digest == later.digest
        {
            let counted = before.of_previous(&later.digest).map_or(0, |before| before.count);
            let mut known = previous.known.lock();
            known.0 += later.count.saturating_sub(counted);
            if known.1.is_none_or(|last| last < later.last) {
                (known.1, known.2) = (Some(later.last), later.from);
            }
        }
    }

    /// The uses of the secret with this digest as the one that a rotation replaced. Remembered across reloads until another
    /// one takes its place.
    pub fn previous_of(&self, digest: &KeyDigest) -> Arc<PreviousUses> {
        let kept = self.previous.load_full().filter(|kept| kept.digest == *digest);
        kept.unwrap_or_else(|| {
            let new = Arc::new(PreviousUses { digest: *digest, known: Mutex::default() });
            self.previous.store(Some(Arc::clone(&new)));
            new
        })
    }

    /// The first use of the secret with this digest. Remembered across reloads until another secret is asked about.
    pub fn first_use_of(&self, digest: &KeyDigest) -> Arc<FirstUse> {
        let kept = self.first_use.load_full().filter(|kept| kept.digest == *digest);
        kept.unwrap_or_else(|| {
            let new = Arc::new(FirstUse { digest: *digest, millis: AtomicI64::new(0) });
            self.first_use.store(Some(Arc::clone(&new)));
            new
        })
    }

    /// The rate in force.
    pub fn rate(&self) -> Rate {
        self.limiter.load().rate()
    }

    /// What counts its requests at the present rate.
    pub fn limiter(&self) -> Arc<Limiter> {
        self.limiter.load_full()
    }

    /// Notes that the key was proved at `now`.
    pub fn used(&self, now: WallTime) {
        self.last_used_millis.store(now.unix_millis(), Ordering::Relaxed);
    }

    /// The last time that the key was proved; `None` if never, as far as is known.
    pub fn last_used(&self) -> Option<WallTime> {
        moment(&self.last_used_millis)
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

    /// Counts what passed only because the key is observed.
    pub fn observed(&self, what: Observed) {
        if let Some(counter) = self.observed.get(what.index()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What passed only because the key is observed, by reason, zeros included.
    pub fn observations(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.observed.iter().map(|counter| counter.load(Ordering::Relaxed));
        Observed::ALL.iter().map(|what| what.reason()).zip(counts)
    }

    /// How often it was refused for this reason.
    pub fn denied_for(&self, denial: Denial) -> u64 {
        self.denied.get(denial.index()).map_or(0, |counter| counter.load(Ordering::Relaxed))
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

fn moment(millis: &AtomicI64) -> Option<WallTime> {
    let millis = millis.load(Ordering::Relaxed);
    (millis != 0).then(|| WallTime::from_unix_millis(millis))
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
