//! Composition: one configuration becomes one process.
//!
//! Sockets are bound before pingora starts, so that a port in use is an error with a name and port 0 tells its number.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{ListenFds, RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora_core::services::background::GenBackgroundService;
use pingora_core::services::listening::Service;
use tokio::sync::watch;

use crate::access_log;
use crate::admin::{Admin, Readiness};
use crate::clock::{Clock, Seldom};
use crate::config::environment::Environment;
use crate::config::load::{Fingerprint, Loaded};
use crate::config::{self, Config, Timeouts};
use crate::keys::state::KeyStates;
use crate::limits::failures::{Failures, MOST_ADDRESSES};
use crate::metrics::{Metrics, Reload};
use crate::proxy::connection::{Accept, Connections};
use crate::proxy::held::Room;
use crate::proxy::lifeline::Lifelines;
use crate::proxy::{Live, Proxy};
use crate::reload::{Reloader, Workshop};
use crate::telegram::watch::Watch;
use crate::tls::TlsError;

/// The file in the state folder with the process id.
pub const PID: &str = "sidelock.pid";

/// A process that is ready to run: its sockets are bound.
pub struct Sidelock {
    server: Server,
    writer: access_log::Writer,
    stop: Stop,
    pid_file: PathBuf,
    /// Where clients connect.
    pub listening: Vec<SocketAddr>,
    /// Where the admin listener is.
    pub admin: SocketAddr,
}

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// The state folder cannot be made.
    #[error("cannot use the state folder {0}: {1}")]
    StateDir(PathBuf, std::io::Error),
    /// The access log cannot be opened.
    #[error("cannot open the access log: {0}")]
    AccessLog(std::io::Error),
    /// The CRM's TLS cannot be set up.
    #[error("[upstream] {0}")]
    Upstream(#[from] TlsError),
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// Two metrics have one name.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Sidelock {
    /// Binds, opens and wires everything.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn prepare(
        path: &Path,
        environment: Environment,
        loaded: Loaded,
        seen: (Fingerprint, Vec<PathBuf>),
        clock: &Clock,
    ) -> Result<Self, StartError> {
        // Taken apart with every name, so that a new section cannot be forgotten; the snapshot takes the rest.
        let Config {
            server,
            limits,
            timeouts,
            access_log,
            client_address: _,
            upstream: _,
            keys: _,
            scopes: _,
            webhooks: _,
            routes: _,
            pack: _,
        } = &loaded.config;
        state_dir(&server.state_dir)?;
        let sockets =
            server.listen.iter().map(|address| Bound::bind(*address)).collect::<Result<Vec<_>, _>>()?;
        let admin_socket = Bound::bind(server.admin)?;
        let listening = sockets.iter().map(|bound| bound.address).collect();
        let admin = admin_socket.address;

        let parts = Parts::make(&loaded, server, &access_log.destination, clock)?;
        let (drain, draining) = watch::channel(false);
        let readiness = Readiness::default();
        let stop = Stop {
            readiness: readiness.clone(),
            drain,
            metrics: Arc::clone(&parts.metrics),
            timeouts: *timeouts,
        };
        let proxy = parts.proxy(*limits, draining.clone(), clock)?;
        let admin_app = Admin { metrics: parts.metrics, readiness };
        let reloader = Reloader::new(path.to_owned(), environment, parts.live, parts.workshop, &loaded, seen);

        let mut pingora = Server::new_with_opt_and_conf(None, pingora_conf(server));
        let accept = Accept(Arc::new(proxy));
        pingora.add_service(Listening::new("proxy", accept, sockets, Some(draining), None));
        pingora.add_service(Listening::new("admin", admin_app, vec![admin_socket], None, Some(1)));
        pingora.add_service(GenBackgroundService::new("reload".to_owned(), Arc::new(reloader)));
        pingora.add_service(GenBackgroundService::new("telegram".to_owned(), parts.telegram));
        let pid_file = server.state_dir.join(PID);
        Ok(Self { server: pingora, writer: parts.writer, stop, pid_file, listening, admin })
    }

    /// Runs until a signal ends it. Once per process: pingora keeps what it knows of threads for ever. What was logged is written before it returns.
    pub fn run(self) {
        let Self { server, writer, stop, pid_file, listening: _, admin: _ } = self;
        if let Err(error) = std::fs::write(&pid_file, std::process::id().to_string()) {
            tracing::warn!(%error, path = %pid_file.display(), "cannot write the process id: 'sidelock reload' will not work");
        }
        server.run(RunArgs { shutdown_signal: Box::new(stop) });
        // Another process may have taken over the file, or the folder be gone.
        drop(std::fs::remove_file(pid_file));
        drop(writer);
    }
}

/// What the services share.
struct Parts {
    failures: Arc<Failures>,
    metrics: Arc<Metrics>,
    access_log: access_log::AccessLog,
    writer: access_log::Writer,
    workshop: Workshop,
    telegram: Arc<Watch>,
    live: Arc<ArcSwap<Live>>,
}

impl Parts {
    fn make(
        loaded: &Loaded,
        server: &config::Server,
        log: &access_log::Destination,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let failures = Arc::new(Failures::new(MOST_ADDRESSES, clock));
        let metrics = Metrics::new(Arc::clone(&failures), server.key_labels, clock)?;
        let (access_log, writer) =
            access_log::open(log, metrics.log_lines_dropped.clone()).map_err(StartError::AccessLog)?;
        let telegram = Arc::new(Watch::new(Arc::clone(&metrics), clock.clone()));
        let workshop = Workshop {
            states: KeyStates::new(clock),
            metrics: Arc::clone(&metrics),
            telegram: Arc::clone(&telegram),
            seen: dashmap::DashMap::new(),
            lifelines: Lifelines::new(metrics.revocation.clone(), clock),
            senders: Arc::default(),
            clock: clock.clone(),
        };
        let live = workshop.live(&loaded.config, loaded.keys.keys.clone(), None)?;
        metrics.started(Reload::Accepted, clock.wall());
        Ok(Self {
            failures,
            metrics,
            access_log,
            writer,
            workshop,
            telegram,
            live: Arc::new(ArcSwap::from_pointee(live)),
        })
    }

    fn proxy(
        &self,
        limits: config::Limits,
        draining: watch::Receiver<bool>,
        clock: &Clock,
    ) -> Result<Proxy, StartError> {
        Ok(Proxy {
            live: Arc::clone(&self.live),
            failures: Arc::clone(&self.failures),
            metrics: Arc::clone(&self.metrics),
            access_log: self.access_log.clone(),
            telegram: Arc::clone(&self.telegram),
            clock: clock.clone(),
            limits,
            connections: Connections::default(),
            lifelines: Arc::clone(&self.workshop.lifelines),
            clock_warning: Seldom::default(),
            room: Room::new(limits.held_bodies),
            draining,
            id_seed: random_seed()?,
            next_id: AtomicU64::new(0),
        })
    }
}

fn state_dir(path: &Path) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| StartError::StateDir(path.to_owned(), error))
}

fn random_seed() -> Result<u64, StartError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| StartError::NoRandomness)?;
    Ok(u64::from_le_bytes(bytes))
}

/// pingora's own files go to the state folder: its defaults are predictable names that anyone could take.
fn pingora_conf(server: &config::Server) -> ServerConf {
    let in_state = |name: &str| server.state_dir.join(name).display().to_string();
    ServerConf {
        threads: server.threads,
        work_stealing: false,
        pid_file: in_state("pingora.pid"),
        upgrade_sock: in_state("upgrade.sock"),
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    }
}

/// A socket that listens, not yet handed over.
#[derive(Debug)]
struct Bound {
    address: SocketAddr,
    descriptor: RawFd,
}

impl Bound {
    fn bind(address: SocketAddr) -> Result<Self, StartError> {
        let bound = || -> std::io::Result<Self> {
            let domain = socket2::Domain::for_address(address);
            let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(4096)?;
            let listener = TcpListener::from(socket);
            Ok(Self { address: listener.local_addr()?, descriptor: listener.into_raw_fd() })
        };
        bound().map_err(|error| StartError::Listen(address, error))
    }
}

/// A pingora listening service on sockets that are already bound, with our own word on when to stop accepting.
struct Listening<A> {
    service: Service<A>,
    sockets: Vec<Bound>,
    /// When to stop accepting; `None` for as long as the process lives.
    draining: Option<ShutdownWatch>,
    threads: Option<usize>,
}

impl<A> Listening<A> {
    fn new(
        name: &str,
        app: A,
        sockets: Vec<Bound>,
        draining: Option<ShutdownWatch>,
        threads: Option<usize>,
    ) -> Self {
        let mut service = Service::new(name.to_owned(), app);
        for bound in &sockets {
            // hyper has its own buffers.
            let listener =
                ListenerConfig::tcp(bound.address.to_string()).l4_buffer(L4BufferSettings::unbuffered());
            service.add_listener(listener);
        }
        Self { service, sockets, draining, threads }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> pingora_core::services::Service for Listening<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let Some(table) = &fds {
            let mut table = table.lock();
            for bound in self.sockets.drain(..) {
                table.add(bound.address.to_string(), bound.descriptor);
            }
        }
        let draining = self.draining.clone().unwrap_or(shutdown);
        pingora_core::services::Service::start_service(&mut self.service, fds, draining, listeners_per_fd)
            .await;
    }

    fn name(&self) -> &str {
        pingora_core::services::Service::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// Ends the process: not ready at once, accepting a while more, requests in flight finished or cut at the limit, and out as
/// soon as nothing is left.
struct Stop {
    readiness: Readiness,
    drain: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    timeouts: Timeouts,
}

#[async_trait]
impl ShutdownSignalWatch for Stop {
    async fn recv(&self) -> ShutdownSignal {
        self.readiness.set(true);
        let accept_for = self.wait_for_request().await;
        self.readiness.set(false);
        tracing::info!("stopping: no longer ready");
        tokio::select! {
            () = self.drained(accept_for) => {}
            _ = self.wait_for_request() => tracing::warn!("second signal: stopping at once"),
        }
        let cut = self.metrics.in_flight.get();
        if cut > 0 {
            tracing::warn!(cut, "requests were cut");
        }
        tracing::info!("stopped");
        // Nothing is left to wait for: pingora's own grace period would be slept in full.
        ShutdownSignal::FastShutdown
    }
}

impl Stop {
    /// Waits for a signal; tells how long to go on accepting.
    async fn wait_for_request(&self) -> Duration {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("cannot listen for signals");
            std::future::pending::<()>().await;
            return Duration::ZERO;
        };
        tokio::select! {
            _ = terminate.recv() => self.timeouts.drain_accept,
            _ = interrupt.recv() => Duration::ZERO,
        }
    }

    async fn drained(&self, accept_for: Duration) {
        let limit = tokio::time::Instant::now() + self.timeouts.drain;
        tokio::time::sleep(accept_for.min(self.timeouts.drain)).await;
        self.drain.send_replace(true);
        let idle = async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            // Twice without a connection: one that was accepted a moment ago is counted by now. And a second without a
            // request: whoever holds half a head open holds nobody up.
            let (mut empty, mut quiet) = (0, 0);
            while empty < 2 && quiet < 50 {
                look.tick().await;
                empty = if self.metrics.connections.get() > 0 { 0 } else { empty + 1 };
                quiet = if self.metrics.in_flight.get() > 0 { 0 } else { quiet + 1 };
                if quiet == 0 {
                    empty = 0;
                }
            }
        };
        // Past the limit what is left is cut, and counted by the caller.
        drop(tokio::time::timeout_at(limit, idle).await);
    }
}
