//! The threads that serve. Whichever gets a connection keeps it: all that happens on it, at both ends, wakes that thread alone.
//!
//! Each has a beat: not of a timer elsewhere, but of the very runtime that answers requests.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use pingora_runtime::current_handle;
use tokio::runtime::Handle;

use crate::vitals::{BEAT_EVERY, Beat, Vitals};

/// Handles come at random; after so many for each thread, all have come but with a chance of one in 10^27.
const TRIES_PER_THREAD: usize = 64;

/// All threads of a runtime.
pub(super) struct Threads(Vec<Thread>);

struct Thread {
    handle: Handle,
    /// Connections that it serves.
    open: Arc<AtomicUsize>,
}

/// One connection; dropping it counts it out.
struct Open(Arc<AtomicUsize>);

impl Threads {
    /// The `wanted` threads of the runtime that this is called in.
    pub(super) async fn find(wanted: usize) -> Self {
        let (mut seen, mut found) = (HashSet::new(), Vec::new());
        for _ in 0..wanted.saturating_mul(TRIES_PER_THREAD) {
            let handle = current_handle();
            let Ok(thread) = handle.spawn(async { thread::current().id() }).await else { continue };
            if seen.insert(thread) {
                found.push(Thread { handle, open: Arc::default() });
            }
            if found.len() == wanted {
                return Self(found);
            }
        }
        tracing::warn!(found = found.len(), wanted, "not every thread is known");
        Self(found)
    }

    /// Starts a beat on each.
    pub(super) fn watch(&self, vitals: &Vitals) {
        for thread in &self.0 {
            thread.handle.spawn(beat(vitals.thread("a thread that serves")));
        }
    }

    /// Runs `connection` on the thread that has the fewest.
    pub(super) fn serve(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let Some(thread) = self.0.iter().min_by_key(|thread| thread.open.load(Ordering::Relaxed)) else {
            return;
        };
        let open = Open::new(&thread.open);
        thread.handle.spawn(async move {
            connection.await;
            drop(open);
        });
    }
}

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn beat(beat: Beat) {
    loop {
        beat.beat();
        tokio::time::sleep(BEAT_EVERY).await;
    }
}
