//! A beat on each thread that serves clients: not of a timer elsewhere, but of the very runtime that answers requests.

use std::collections::HashSet;
use std::thread;

use pingora_runtime::current_handle;

use crate::vitals::{BEAT_EVERY, Beat, Vitals};

/// Handles come at random; after so many for each thread, all have come but with a chance of one in 10^27.
const TRIES_PER_THREAD: usize = 64;

/// Starts a beat on each of the `threads` of the runtime that this is called in.
pub(super) async fn start(vitals: &Vitals, threads: usize) {
    let mut found = HashSet::new();
    for _ in 0..threads.saturating_mul(TRIES_PER_THREAD) {
        let handle = current_handle();
        let Ok(thread) = handle.spawn(async { thread::current().id() }).await else { continue };
        if found.insert(thread) {
            handle.spawn(go_on(vitals.thread("a thread that serves")));
        }
        if found.len() == threads {
            return;
        }
    }
    tracing::warn!(found = found.len(), threads, "not every thread is watched");
}

async fn go_on(beat: Beat) {
    loop {
        beat.beat();
        tokio::time::sleep(BEAT_EVERY).await;
    }
}
