//! Which deliveries of a webhook were seen, so that none is acted on twice.
//!
//! A delivery is claimed while it is under way, and remembered once the CRM took it: one that failed may come again. The
//! memory is the process's, and goes over at an upgrade: after a restart only a sender's time stamps tell an old delivery.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::credential::webhook::ReplayKey;

/// Most deliveries that are remembered per webhook; beyond it the oldest are forgotten.
pub const MOST_REMEMBERED: usize = 65_536;

/// The memory of one webhook.
#[derive(Debug, Default)]
pub struct Deliveries(Mutex<Memory>);

#[derive(Debug, Default)]
struct Memory {
    /// Those under way are as many as requests, those done at most [`MOST_REMEMBERED`].
    known: HashMap<ReplayKey, Known>,
    /// Those that are done, oldest first.
    done: VecDeque<ReplayKey>,
    /// How many were done so far.
    count: u64,
}

/// What is known of a delivery that comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// The first one has not been answered yet.
    UnderWay,
    /// The CRM took it.
    Done,
}

/// The right to act on one delivery. Dropping it gives the right back.
#[derive(Debug)]
pub struct Claim {
    deliveries: Arc<Deliveries>,
    key: Option<ReplayKey>,
}

impl Deliveries {
    /// Claims a delivery.
    ///
    /// # Errors
    /// What is known of an equal one.
    pub fn claim(self: &Arc<Self>, key: ReplayKey) -> Result<Claim, Known> {
        let mut memory = self.0.lock();
        if let Some(known) = memory.known.get(&key) {
            return Err(*known);
        }
        memory.known.insert(key, Known::UnderWay);
        Ok(Claim { deliveries: Arc::clone(self), key: Some(key) })
    }

    /// What another process saw done.
    pub fn remember(self: &Arc<Self>, key: ReplayKey) {
        let mut memory = self.0.lock();
        if memory.known.get(&key) != Some(&Known::Done) {
            memory.done(key);
        }
    }

    /// Those that were done after the first `so_far`, the oldest first, and how many that makes in all.
    pub fn done_since(&self, so_far: u64) -> (Vec<ReplayKey>, u64) {
        let memory = self.0.lock();
        let new = usize::try_from(memory.count.saturating_sub(so_far)).unwrap_or(usize::MAX);
        let old = memory.done.len().saturating_sub(new);
        (memory.done.iter().skip(old).copied().collect(), memory.count)
    }

    /// Those that are not answered yet.
    pub fn under_way(&self) -> Vec<ReplayKey> {
        let memory = self.0.lock();
        if memory.known.len() == memory.done.len() {
            return Vec::new();
        }
        let under_way = memory.known.iter().filter(|(_, known)| **known == Known::UnderWay);
        under_way.map(|(key, _)| *key).collect()
    }

    /// Number of deliveries that are remembered or under way.
    pub fn len(&self) -> usize {
        self.0.lock().known.len()
    }

    /// True if nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Claim {
    /// The CRM took it: from now on an equal one is a duplicate.
    pub fn done(mut self) {
        let Some(key) = self.key.take() else { return };
        self.deliveries.0.lock().done(key);
    }
}

impl Memory {
    fn done(&mut self, key: ReplayKey) {
        self.known.insert(key, Known::Done);
        self.done.push_back(key);
        self.count += 1;
        if self.done.len() > MOST_REMEMBERED
            && let Some(oldest) = self.done.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.deliveries.0.lock().known.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_and_only_once() {
        let deliveries = Arc::new(Deliveries::default());
        let key = ReplayKey::of_update(1);
        let claim = deliveries.claim(key).unwrap();
        assert_eq!(deliveries.claim(key).unwrap_err(), Known::UnderWay);
        drop(claim);
        assert!(deliveries.is_empty(), "a delivery that failed may come again");
        deliveries.claim(key).unwrap().done();
        assert_eq!(deliveries.claim(key).unwrap_err(), Known::Done);
        assert!(deliveries.claim(ReplayKey::of_update(2)).is_ok());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let deliveries = Arc::new(Deliveries::default());
        let many = u64::try_from(MOST_REMEMBERED).unwrap() + 1000;
        for id in 0..many {
            deliveries.claim(ReplayKey::of_update(id)).unwrap().done();
        }
        assert_eq!(deliveries.len(), MOST_REMEMBERED);
        assert!(deliveries.claim(ReplayKey::of_update(0)).is_ok());
        assert!(deliveries.claim(ReplayKey::of_update(many - 1)).is_err());
    }
}
