//! A task in the background that is started again when it panics, and never silently gone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::server::ShutdownWatch;
use pingora_core::services::background::BackgroundService;
use tokio::time::{Instant, sleep};

use crate::vitals::Task;

/// After a panic it is started again this long after, then after twice as long, and so on…
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// …up to this,
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// and from the beginning once it has gone on for so long.
const RECOVERED: Duration = Duration::from_secs(60);

/// The task, watched.
pub(super) struct Supervised<A> {
    name: &'static str,
    task: Arc<A>,
    word: Task,
    first_wait: Duration,
}

impl<A> Supervised<A> {
    pub(super) const fn new(name: &'static str, task: Arc<A>, word: Task) -> Self {
        Self { name, task, word, first_wait: FIRST_WAIT }
    }
}

#[async_trait]
impl<A: BackgroundService + Send + Sync + 'static> BackgroundService for Supervised<A> {
    async fn start(&self, shutdown: ShutdownWatch) {
        let mut wait = self.first_wait;
        loop {
            self.word.up();
            let (task, watch) = (Arc::clone(&self.task), shutdown.clone());
            let began = Instant::now();
            let ended = tokio::spawn(async move { task.start(watch).await }).await;
            self.word.down();
            if ended.is_ok() {
                if matches!(shutdown.has_changed(), Ok(false)) {
                    tracing::error!(task = self.name, "a background task gave up");
                }
                return;
            }
            if began.elapsed() > RECOVERED {
                wait = self.first_wait;
            }
            tracing::error!(task = self.name, again_in = ?wait, "a background task panicked");
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::watch;

    use super::*;
    use crate::clock::Clock;
    use crate::vitals::Vitals;

    /// Panics as often as it is told, then goes on until it is over.
    struct Clumsy {
        slips: AtomicUsize,
        starts: AtomicUsize,
    }

    #[async_trait]
    impl BackgroundService for Clumsy {
        async fn start(&self, mut shutdown: ShutdownWatch) {
            self.starts.fetch_add(1, Ordering::SeqCst);
            let left =
                self.slips.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
            assert!(left.is_err(), "a slip");
            drop(shutdown.wait_for(|over| *over).await);
        }
    }

    #[test]
    fn it_comes_back_and_says_when_it_is_down() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let vitals = Vitals::new(&Clock::system());
            let task = Arc::new(Clumsy { slips: AtomicUsize::new(2), starts: AtomicUsize::new(0) });
            let (over, shutdown) = watch::channel(false);
            let first_wait = Duration::from_millis(20);
            let supervised = Supervised::new("clumsy", Arc::clone(&task), vitals.task("clumsy"));
            let supervised = Supervised { first_wait, ..supervised };
            let running = tokio::spawn(async move { supervised.start(shutdown).await });
            let at = |starts, unwell| {
                let (task, vitals) = (Arc::clone(&task), vitals.clone());
                async move {
                    while (task.starts.load(Ordering::SeqCst), vitals.unwell()) != (starts, unwell) {
                        tokio::task::yield_now().await;
                    }
                }
            };
            for (starts, unwell) in [(1, Some("clumsy")), (2, Some("clumsy")), (3, None)] {
                let came = tokio::time::timeout(Duration::from_secs(10), at(starts, unwell)).await;
                assert!(came.is_ok(), "{starts} {unwell:?}");
            }
            over.send_replace(true);
            running.await.unwrap();
            assert_eq!(task.starts.load(Ordering::SeqCst), 3, "an end is an end");
        });
    }
}
