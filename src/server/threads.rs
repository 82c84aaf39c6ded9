//! The threads that serve. Whichever gets a connection keeps it: all that happens on it, at both ends, wakes that thread alone.
//!
//! Each has a beat: not of a timer elsewhere, but of the very runtime that answers requests.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pingora_runtime::current_handle;
use tokio::runtime::Handle;

use crate::vitals::{BEAT_EVERY, Beat, Vitals};

/// Handles come at random; after so many for each thread, all have come but with a chance of one in 10^27.
const TRIES_PER_THREAD: usize = 64;

/// All threads of a runtime.
pub(super) struct Threads {
    handles: Vec<Handle>,
    next: AtomicUsize,
}

impl Threads {
    /// The `wanted` threads of the runtime that this is called in; `None` if there are none at all.
    pub(super) async fn find(wanted: usize) -> Option<Self> {
        let (mut seen, mut handles) = (HashSet::new(), Vec::new());
        for _ in 0..wanted.saturating_mul(TRIES_PER_THREAD) {
            let handle = current_handle();
            let Ok(thread) = handle.spawn(async { thread::current().id() }).await else { continue };
            if seen.insert(thread) {
                handles.push(handle);
            }
            if handles.len() == wanted {
                break;
            }
        }
        if handles.len() < wanted {
            tracing::warn!(found = handles.len(), wanted, "not every thread is known");
        }
        (!handles.is_empty()).then_some(Self { handles, next: AtomicUsize::new(0) })
    }

    /// Starts a beat on each.
    pub(super) fn watch(&self, vitals: &Vitals) {
        for handle in &self.handles {
            handle.spawn(beat(vitals.thread("a thread that serves")));
        }
    }

    /// Runs `connection` on the next thread: in turn, whatever each of them has open.
    pub(super) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len().max(1);
        if let Some(handle) = self.handles.get(turn) {
            handle.spawn(connection);
        }
    }
}

async fn beat(beat: Beat) {
    loop {
        beat.beat();
        tokio::time::sleep(BEAT_EVERY).await;
    }
}
