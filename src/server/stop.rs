//! The life of a process between its start and its end: told by signals, and without losing what is under way.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::handover::estate::{Estate, Held};
use super::handover::giving::{Giver, NoUpgrade, Successor};
use super::handover::taking::Predecessor;
use super::signs::Signs;
use super::sockets::AWAITED;
use crate::admin::{OpenDoors, Readiness, UpgradeAsk};
use crate::config::Timeouts;
use crate::metrics::Metrics;
use crate::reload::keeper::Keeper;
use crate::supervisor::Supervisor;
use crate::telegram::watch::Watch;
use crate::vitals::Vitals;

/// Between two looks at what is left.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Looks without a request: a second.
const QUIET: u32 = 50;
/// For `WebSocket`s to be ended and recorded.
const HANG_UP: Duration = Duration::from_millis(500);

/// Ends the process: not ready at once, accepting a while more, requests in flight finished or cut at the limit, and out as
/// soon as nothing is left. Or, replaced by another: no longer accepting, and the same.
pub(super) struct Stop {
    pub(super) switches: Switches,
    pub(super) metrics: Arc<Metrics>,
    pub(super) supervisor: Supervisor,
    pub(super) vitals: Vitals,
    pub(super) timeouts: Timeouts,
    pub(super) signs: Signs,
    pub(super) keeper: Keeper,
    pub(super) telegram: Arc<Watch>,
    /// What an upgrade hands over; `None` where there is none.
    pub(super) giver: Option<Giver>,
    pub(super) estate: Estate,
    pub(super) beginning: Mutex<Option<Beginning>>,
    /// Hears what the process says that was replaced by this one, and ends with it.
    pub(super) hearing: Mutex<Option<JoinHandle<()>>>,
}

/// What is turned here, and watched elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Switches {
    pub(super) readiness: Readiness,
    /// Clients' connections end after their present request.
    pub(super) drain: watch::Sender<bool>,
    /// `WebSocket`s end.
    pub(super) hang_up: watch::Sender<bool>,
    /// The admin listener accepts no more: another process does.
    pub(super) leave: watch::Sender<bool>,
    /// The admin listener's connections.
    pub(super) doors: OpenDoors,
    pub(super) fate: Fate,
}

impl Switches {
    /// What clients' connections watch: their end, and that of `WebSocket`s.
    pub(super) fn for_clients(&self) -> (watch::Receiver<bool>, watch::Receiver<bool>) {
        (self.drain.subscribe(), self.hang_up.subscribe())
    }
}

/// What only the start needs.
pub(super) struct Beginning {
    /// A word from each of [`AWAITED`] that is up; ends early if one never will be.
    pub(super) up: mpsc::Receiver<()>,
    pub(super) asks: mpsc::Receiver<UpgradeAsk>,
    pub(super) predecessor: Option<(Predecessor, Held)>,
}

/// How the process ended, for whoever cleans up.
#[derive(Clone, Debug, Default)]
pub(super) struct Fate {
    is_replaced: Arc<AtomicBool>,
    is_broken: Arc<AtomicBool>,
}

impl Fate {
    /// Another process has everything now.
    pub(super) fn is_replaced(&self) -> bool {
        self.is_replaced.load(Ordering::Relaxed)
    }

    /// It could not serve.
    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

/// Why it ends.
enum End {
    /// A signal; it accepts for so long yet.
    Told(Duration),
    Replaced(Box<Successor>),
}

/// The signals that end a process.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

/// What asks for an upgrade.
struct Wishes {
    signal: Signal,
    asks: mpsc::Receiver<UpgradeAsk>,
}

/// A wish for an upgrade; whoever made it hears what comes of it, if anybody can.
struct Wish(Option<UpgradeAsk>);

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        tokio::select! {
            ended = self.whole_life() => ended,
            never = self.watchdog() => match never {},
        }
    }
}

impl Stop {
    async fn whole_life(&self) -> ShutdownSignal {
        let (Some(mut ends), Ok(signal), Some(beginning)) =
            (Ends::listen(), signal(SignalKind::user_defined2()), self.beginning.lock().take())
        else {
            return self.fail("cannot listen for signals");
        };
        let Some(asks) = self.begin(beginning).await else {
            return self.fail("not everything could be started");
        };
        match self.live(&mut ends, Wishes { signal, asks }).await {
            End::Told(accept_for) => {
                self.switches.readiness.set(false);
                self.supervisor.stopping();
                tracing::info!("stopping: no longer ready");
                tokio::select! {
                    () = self.drained(accept_for) => {}
                    _ = ends.next(&self.timeouts) => tracing::warn!("second signal: stopping at once"),
                }
            }
            End::Replaced(mut successor) => {
                self.switches.leave.send_replace(true);
                let twice = async {
                    // A supervisor that stops both tells both: what is under way may still end.
                    ends.next(&self.timeouts).await;
                    ends.next(&self.timeouts).await;
                };
                tokio::select! {
                    () = self.drained(Duration::ZERO) => {}
                    () = twice => tracing::warn!("second signal: stopping at once"),
                    never = successor.keep_telling() => match never {},
                }
                successor.farewell().await;
            }
        }
        let cut = self.metrics.in_flight.get();
        if cut > 0 {
            tracing::warn!(cut, "requests were cut");
        }
        tracing::info!("stopped");
        // Nothing is left to wait for: pingora's own grace period would be slept in full.
        ShutdownSignal::FastShutdown
    }

    /// Tells systemd that every thread that serves is alive, for as long as that is so.
    async fn watchdog(&self) -> Infallible {
        let Some(limit) = self.supervisor.watchdog() else { return std::future::pending().await };
        loop {
            match self.vitals.stuck() {
                _ if self.switches.fate.is_replaced() => return std::future::pending().await,
                None => self.supervisor.alive(),
                Some(what) => tracing::error!(what, "stuck: systemd is not told that all is well"),
            }
            sleep(limit / 3).await;
        }
    }

    /// Waits until everything is up, and says so; `None` if something never will be.
    async fn begin(&self, mut beginning: Beginning) -> Option<mpsc::Receiver<UpgradeAsk>> {
        for _ in 0..AWAITED {
            beginning.up.recv().await?;
        }
        self.signs.put_up();
        self.switches.readiness.set(true);
        self.supervisor.ready();
        if let Some((predecessor, held)) = beginning.predecessor {
            *self.hearing.lock() = predecessor.running(self.estate.clone(), held);
        }
        Some(beginning.asks)
    }

    fn fail(&self, why: &str) -> ShutdownSignal {
        tracing::error!("{why}");
        self.switches.fate.is_broken.store(true, Ordering::Relaxed);
        ShutdownSignal::FastShutdown
    }

    /// Until the process is told to end, or is replaced.
    async fn live(&self, ends: &mut Ends, mut wishes: Wishes) -> End {
        loop {
            let wish = tokio::select! {
                accept_for = ends.next(&self.timeouts) => return End::Told(accept_for),
                wish = wishes.next() => wish,
            };
            tracing::info!("upgrade: starting the program anew");
            let upgraded = tokio::select! {
                upgraded = self.upgrade() => upgraded,
                accept_for = ends.next(&self.timeouts) => {
                    self.not_upgraded(wish, &NoUpgrade::Ending);
                    return End::Told(accept_for);
                }
                never = wishes.refuse() => match never {},
            };
            match upgraded {
                Ok(successor) => {
                    let pid = successor.pid;
                    tracing::info!(pid, "upgrade: the new process runs; this one ends");
                    wish.answer(Ok(pid));
                    return End::Replaced(Box::new(successor));
                }
                Err(why) => self.not_upgraded(wish, &why),
            }
        }
    }

    fn not_upgraded(&self, wish: Wish, why: &NoUpgrade) {
        tracing::error!(%why, "no upgrade: this process goes on");
        // The new one may have come as far as to put up its own.
        self.signs.put_up();
        wish.answer(Err(why.to_string()));
    }

    async fn upgrade(&self) -> Result<Successor, NoUpgrade> {
        let giver = self.giver.as_ref().ok_or(NoUpgrade::NotRun)?;
        // What the one before has under way is known here, and would be unknown to a third.
        if self.hearing.lock().as_ref().is_some_and(|hearing| !hearing.is_finished()) {
            return Err(NoUpgrade::Predecessor);
        }
        let successor = giver.hand_over(&self.estate, &self.keeper).await?;
        self.supervisor.replaced_by(successor.pid);
        self.switches.fate.is_replaced.store(true, Ordering::Relaxed);
        self.keeper.retire();
        self.telegram.retire();
        Ok(successor)
    }

    async fn drained(&self, accept_for: Duration) {
        let limit = Instant::now() + self.timeouts.drain;
        sleep(accept_for.min(self.timeouts.drain)).await;
        self.switches.drain.send_replace(true);
        let is_replaced = self.switches.fate.is_replaced();
        // Nobody waits for the end of a process that was replaced: what is open in it may stay as long as anything may.
        self.switches.hang_up.send_replace(!is_replaced);
        if timeout_at(limit, self.idle(is_replaced)).await.is_err() && is_replaced {
            self.switches.hang_up.send_replace(true);
            drop(timeout(HANG_UP, self.idle(is_replaced)).await);
        }
        // Past the limit what is left is cut, and counted by the caller.
    }

    /// Until nothing is left to wait for.
    async fn idle(&self, is_replaced: bool) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        // Where another process serves, nothing hurries: kept connections get time to be told with an answer.
        let long = if is_replaced { 3 * QUIET } else { QUIET };
        // Twice without a connection: one that was accepted a moment ago is counted by now. And a while without a request:
        // whoever holds half a head open holds nobody up.
        let (mut empty, mut quiet) = (0, 0);
        while empty < 2 && quiet < long {
            look.tick().await;
            empty = if self.metrics.connections.get() > 0 { 0 } else { empty + 1 };
            quiet = if self.metrics.in_flight.get() > 0 { 0 } else { quiet + 1 };
            if quiet == 0 {
                empty = 0;
            }
        }
        while is_replaced && self.switches.doors.are_open() {
            look.tick().await;
        }
    }
}

impl Ends {
    fn listen() -> Option<Self> {
        let (terminate, interrupt) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
        Some(Self { terminate: terminate.ok()?, interrupt: interrupt.ok()? })
    }

    /// The next one; tells how long to go on accepting.
    async fn next(&mut self, timeouts: &Timeouts) -> Duration {
        tokio::select! {
            _ = self.terminate.recv() => timeouts.drain_accept,
            _ = self.interrupt.recv() => Duration::ZERO,
        }
    }
}

impl Wishes {
    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.signal.recv() => Wish(None),
            Some(ask) = self.asks.recv() => Wish(Some(ask)),
        }
    }

    /// One is under way: no others, for as long as this is polled.
    async fn refuse(&mut self) -> Infallible {
        loop {
            let wish = self.next().await;
            tracing::warn!("an upgrade is under way: no second one");
            wish.answer(Err(NoUpgrade::UnderWay.to_string()));
        }
    }
}

impl Wish {
    fn answer(self, told: Result<u32, String>) {
        if let Some(ask) = self.0 {
            ask.answer(told);
        }
    }
}
