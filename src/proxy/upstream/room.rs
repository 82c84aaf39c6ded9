//! How many connections to the CRM may be in use at once: a slow CRM must not take all that the gateway has.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::denial::Denial;

/// The longest that a request waits for room.
pub(super) const MOST_WAIT: Duration = Duration::from_secs(1);

/// The room that there is.
#[derive(Debug)]
pub(super) struct Room {
    most: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
}

/// One more that waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Room {
    pub(super) fn new(most: usize) -> Self {
        Self { most, used: AtomicUsize::new(0), waiting: AtomicUsize::new(0), freed: Notify::new() }
    }

    /// True if there was room, and one place of it is taken now.
    #[inline]
    pub(super) fn enter(&self) -> bool {
        let next = |used| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Ordering::SeqCst, Ordering::Relaxed, next).is_ok()
    }

    /// Takes a place, whether there is one or not.
    pub(super) fn enter_anyway(&self) {
        self.used.fetch_add(1, Ordering::SeqCst);
    }

    /// Takes a place as soon as there is one.
    ///
    /// # Errors
    /// [`Denial::UpstreamFull`] if there was none `within` this time.
    pub(super) async fn wait(&self, within: Duration) -> Result<(), Denial> {
        let until = Instant::now() + within;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // Heard from here on: a place that is freed after the look below is not missed.
            freed.as_mut().enable();
            if self.enter() {
                return Ok(());
            }
            timeout_at(until, freed).await.map_err(|_| Denial::UpstreamFull)?;
        }
    }

    /// Gives a place back.
    #[inline]
    pub(super) fn leave(&self) {
        self.used.fetch_sub(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SOON: Duration = Duration::from_millis(1);
    const LATE: Duration = Duration::from_secs(10);

    #[test]
    fn who_waits_gets_the_place_that_is_left_and_not_for_ever() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let room = Arc::new(Room::new(2));
            assert!(room.enter() && room.enter() && !room.enter());
            let other = Arc::clone(&room);
            let waiting = tokio::spawn(async move { other.wait(LATE).await });
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            room.leave();
            assert_eq!(waiting.await.unwrap(), Ok(()));
            assert_eq!(room.wait(SOON).await, Err(Denial::UpstreamFull));
            room.leave();
            assert_eq!(room.wait(SOON).await, Ok(()));
            assert_eq!(room.waiting.load(Ordering::SeqCst), 0);
        });
    }

    #[test]
    fn nobody_is_left_waiting_and_there_are_never_too_many() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
        let (room, inside, most) = (Arc::new(Room::new(3)), Arc::new(AtomicUsize::new(0)), 3);
        runtime.block_on(async {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..64 {
                let (room, inside) = (Arc::clone(&room), Arc::clone(&inside));
                all.spawn(async move {
                    let mut entered = 0;
                    for _ in 0..200 {
                        if room.enter() || room.wait(LATE).await.is_ok() {
                            assert!(inside.fetch_add(1, Ordering::SeqCst) < most);
                            entered += 1;
                            tokio::task::yield_now().await;
                            inside.fetch_sub(1, Ordering::SeqCst);
                            room.leave();
                        }
                    }
                    entered
                });
            }
            assert_eq!(all.join_all().await.into_iter().sum::<usize>(), 64 * 200);
        });
        assert_eq!(room.used.load(Ordering::SeqCst), 0);
    }
}
