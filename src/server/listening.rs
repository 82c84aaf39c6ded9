//! A service on sockets that listen: accepts connections, and gives each to a thread.

use std::convert::Infallible;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use nix::errno::Errno;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::bound::Bound;
use super::threads::Threads;
use crate::socket::{Arrival, Listening};
use crate::vitals::{Task, Vitals};

/// Pause where accepting would fail again at once, as without a free descriptor.
const PAUSE: Duration = Duration::from_millis(200);

/// Accepts until it is told to stop. `serve` is asked about each connection at once; what it gives runs on the thread that gets
/// the connection, and with nothing the connection is closed.
pub(super) struct Accepting<S> {
    name: &'static str,
    serve: Arc<S>,
    sockets: Vec<Bound>,
    /// When to stop.
    draining: ShutdownWatch,
    /// Told once, when it accepts; dropped without a word if it never will.
    up: Option<mpsc::Sender<()>>,
    threads: usize,
    /// Where it is told that nobody accepts any more.
    vitals: Vitals,
    watched: Watched,
}

/// Whether a thread that is stuck is a reason to start the process anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    /// It is.
    Threads,
    /// It is not.
    Nothing,
}

impl<S> Accepting<S> {
    pub(super) fn new(
        (name, serve): (&'static str, S),
        sockets: Vec<Bound>,
        draining: ShutdownWatch,
        up: mpsc::Sender<()>,
        threads: usize,
        (vitals, watched): (Vitals, Watched),
    ) -> Self {
        Self { name, serve: Arc::new(serve), sockets, draining, up: Some(up), threads, vitals, watched }
    }

    /// The sockets, known to this thread's runtime.
    fn open(&mut self) -> io::Result<Vec<Listening>> {
        self.sockets.drain(..).map(|bound| bound.socket.open()).collect()
    }
}

#[async_trait]
impl<S, F> Service for Accepting<S>
where
    S: Fn(Arrival) -> Option<F> + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    async fn start_service(&mut self, _: Option<ListenFds>, _: ShutdownWatch, _: usize) {
        let up = self.up.take();
        let sockets = match self.open() {
            Ok(sockets) => sockets,
            Err(error) => return tracing::error!(%error, "a socket cannot be listened at"),
        };
        let Some(threads) = Threads::find(self.threads).await.map(Arc::new) else {
            return tracing::error!("there is no thread to serve connections");
        };
        if self.watched == Watched::Threads {
            threads.watch(&self.vitals);
        }
        let listening = self.vitals.task("a listener");
        let mut loops = JoinSet::new();
        for (at, socket) in sockets.into_iter().enumerate() {
            let (serve, threads) = (Arc::clone(&self.serve), Arc::clone(&threads));
            loops.spawn(async move { match accept(at, &socket, &*serve, &threads).await {} });
        }
        if let Some(up) = up {
            // There is room for a word of each service.
            let _ = up.try_send(());
        }
        tokio::select! {
            // Whoever turns it is gone with the process.
            _ = self.draining.wait_for(|draining| *draining) => {}
            () = all_ended(&mut loops, &listening) => {}
        }
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(self.threads)
    }
}

/// Waits until nobody accepts any more. One that ends, which is a mistake of this program's, does not take the others along.
async fn all_ended(loops: &mut JoinSet<()>, listening: &Task) {
    while loops.join_next().await.is_some() {
        tracing::error!("nobody accepts connections at a listener any more");
        listening.down();
    }
}

async fn accept<S, F>(at: usize, socket: &Listening, serve: &S, threads: &Threads) -> Infallible
where
    S: Fn(Arrival) -> Option<F>,
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        match socket.accept(at).await {
            Ok(arrival) => {
                // A mistake about one connection must not end them all; the panic is counted and logged.
                if let Ok(Some(connection)) = catch_unwind(AssertUnwindSafe(|| serve(arrival))) {
                    threads.serve(connection);
                }
            }
            Err(error) if is_of_one(&error) => {
                tracing::debug!(%error, "a connection was gone before it was accepted");
            }
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// True for what is wrong with one connection alone, as `accept(2)` tells it on Linux: the next may be good.
fn is_of_one(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| {
        matches!(
            Errno::from_raw(code),
            Errno::ECONNABORTED
                | Errno::EINTR
                | Errno::EPROTO
                | Errno::ENETDOWN
                | Errno::ENOPROTOOPT
                | Errno::EHOSTDOWN
                | Errno::EHOSTUNREACH
                | Errno::EOPNOTSUPP
                | Errno::ENETUNREACH
        )
    })
}
