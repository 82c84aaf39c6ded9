//! The listeners: what the configuration says of each of those that were opened at the start.

use std::sync::Arc;

use crate::config::{Listener, Place};

/// For each of the `places` that are bound, what `new` content says of it; what it no longer names stays as it was. A listener
/// that did not change stays the very same, and with it the sessions that clients can resume.
pub fn in_order(places: &[Place], new: &[Listener], before: &[Arc<Listener>]) -> Vec<Arc<Listener>> {
    let one = |(at, place): (usize, &Place)| {
        // Port 0 can be there more than once.
        let nth = places.iter().take(at).filter(|other| other.is(place)).count();
        let old = before.get(at);
        match (new.iter().filter(|it| it.place.is(place)).nth(nth), old) {
            (Some(new), Some(old)) if *new == **old => Some(Arc::clone(old)),
            (Some(new), _) => Some(Arc::new(new.clone())),
            (None, old) => old.cloned(),
        }
    };
    places.iter().enumerate().filter_map(one).collect()
}
