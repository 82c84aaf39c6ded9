//! Composition: one configuration becomes one process.
//!
//! Sockets are bound before pingora starts, so that a port in use is an error with a name and port 0 tells its number.

mod activation;
mod bound;
mod descriptors;
mod early;
mod handover;
mod inherited;
mod listening;
mod origin;
pub mod panics;
mod signs;
mod sockets;
mod stop;
mod supervised;
mod threads;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::GenBackgroundService;
use tokio::sync::{mpsc, watch};

use crate::access_log;
use crate::admin::pass::{Door, Pass};
use crate::admin::{self, Admin, Upgrades};
use crate::clock::{Clock, Seldom};
use crate::config::environment::Environment;
use crate::config::load::{Fingerprint, Loaded};
use crate::config::{self, Config, Place};
use crate::keys::last_used::LastUsed;
use crate::keys::origins_file::KnownOrigins;
use crate::keys::state::KeyStates;
use crate::limits::failures::{Failures, MOST_ADDRESSES};
use crate::metrics::{Metrics, Reload};
use crate::proxy::held::Room;
use crate::proxy::lifeline::Lifelines;
use crate::proxy::places::Connections;
use crate::proxy::upstream::checks::Rounds;
use crate::proxy::{Live, Proxy};
use crate::reload::keeper::Keeper;
use crate::reload::{Reloader, Workshop};
use crate::supervisor::Supervisor;
use crate::telegram::watch::Watch;
use crate::tls::TlsError;
use crate::vitals::Vitals;
use bound::{Bound, SocketFile};
pub use early::outlive_early_signals;
use handover::estate::Estate;
pub use origin::Origin;
use signs::Signs;
use sockets::{AWAITED, Sockets};
use stop::{Beginning, Stop, Switches};
use supervised::Supervised;

/// The file in the state folder with the process id.
pub const PID: &str = "sidelock.pid";

/// A process that is ready to run: its sockets are bound.
pub struct Sidelock {
    server: Server,
    writer: access_log::Writer,
    stop: Stop,
    signs: Signs,
    /// Held to the end: whoever watches them would take their loss for a mistake.
    switches: Switches,
    keeper: Keeper,
    socket_files: Vec<SocketFile>,
    /// Where clients connect.
    pub listening: Vec<Place>,
    /// Where the admin listener is.
    pub admin: Place,
}

/// Why a process cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error("cannot listen on {0}: {1}")]
    Listen(Place, std::io::Error),
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
    /// The process that was to be replaced goes on.
    #[error(transparent)]
    Unwanted(#[from] handover::taking::Unwanted),
    /// Two metrics have one name.
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] prometheus::Error),
    /// A listener failed after it was bound; the log says why.
    #[error("a listener could not be opened; see the log")]
    Broken,
}

impl StartError {
    /// A mistake in an address shows in what a supervisor lent in vain.
    fn with_unnamed(self, lent: &[String]) -> Self {
        if lent.is_empty() {
            return self;
        }
        if let Self::Listen(place, error) = self {
            let lent = lent.join(", ");
            let why = format!("{error}; the supervisor lent {lent}, which no listener names");
            Self::Listen(place, std::io::Error::new(error.kind(), why))
        } else {
            self
        }
    }
}

impl Sidelock {
    /// Binds, opens and wires everything. With a predecessor, waits until that says to go on.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn prepare(
        path: &Path,
        environment: Environment,
        loaded: Loaded,
        seen: (Fingerprint, Vec<PathBuf>),
        origin: &mut Origin,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        // Taken apart with every name, so that a new section cannot be forgotten; the snapshot takes the rest.
        let Config {
            server,
            listeners,
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
            ban: _,
        } = &loaded.config;
        state_dir(&server.state_dir)?;
        let sockets = Sockets::open(server, listeners, origin)?;
        let told = origin.wait_for_go()?;
        let (limits, most_to_crm) = descriptors::fit(*limits);
        let parts = Parts::make(&loaded, &access_log.0, &environment, most_to_crm, clock)?;
        let vitals = parts.vitals.clone();
        let estate = parts.estate();
        let held = estate.learn_all(told);
        let switches = Switches::default();
        // The sockets are in use: whoever asks, either process may hear it first.
        switches.readiness.set(origin.predecessor.is_some());
        let (upgrades, asks) = Upgrades::new();
        let (up, ups) = mpsc::channel(AWAITED);
        let (pass, signs) = signs(server, &sockets, origin)?;
        let keeper = Keeper::new(&parts.workshop.states, &server.state_dir);
        let predecessor = origin.predecessor.take().zip(Some(held));
        let stop = Stop {
            switches: switches.clone(),
            metrics: Arc::clone(&parts.metrics),
            supervisor: parts.workshop.supervisor.clone(),
            vitals: vitals.clone(),
            timeouts: *timeouts,
            signs: signs.clone(),
            keeper: keeper.clone(),
            telegram: Arc::clone(&parts.telegram),
            giver: sockets.giver(origin, timeouts),
            estate,
            beginning: Some(Beginning { up: ups, asks, predecessor }).into(),
            hearing: None.into(),
        };
        let proxy = parts.proxy(limits, switches.for_clients(), clock)?;
        let admin = parts.admin(&switches, pass, upgrades);
        let rounds = Arc::clone(&parts.workshop.rounds);
        let (live, workshop) = (parts.live, parts.workshop);
        let reloader =
            Reloader::new(path.to_owned(), environment, live, workshop, &loaded, seen, keeper.clone())
                .telling(up.clone());

        let socket_files = sockets.clients.iter().filter_map(Bound::file).collect();
        let (listening, admin_place) = sockets.places();
        let mut pingora = Server::new_with_opt_and_conf(None, pingora_conf(server));
        sockets.serve(&mut pingora, (proxy, admin), &switches, up, vitals.clone());
        add_background(&mut pingora, (reloader, rounds, parts.telegram), &vitals);
        let (writer, admin) = (parts.writer, admin_place);
        Ok(Self { server: pingora, writer, stop, signs, switches, keeper, socket_files, listening, admin })
    }

    /// Runs until a signal ends it, or another process takes over. Once per process: pingora keeps what it knows of threads for ever.
    /// What was logged is written before it returns.
    ///
    /// # Errors
    /// It could not serve.
    pub fn run(self) -> Result<(), StartError> {
        let Self { server, writer, stop, signs, switches, keeper, socket_files, listening: _, admin: _ } =
            self;
        server.run(RunArgs { shutdown_signal: Box::new(stop) });
        if !switches.fate.is_replaced() {
            keeper.keep();
            signs.take_down();
            socket_files.into_iter().for_each(SocketFile::remove);
        }
        drop(writer);
        if switches.fate.is_broken() { Err(StartError::Broken) } else { Ok(()) }
    }
}

/// What goes on beside requests.
fn add_background(
    pingora: &mut Server,
    (reloader, rounds, telegram): (Reloader, Arc<Rounds>, Arc<Watch>),
    vitals: &Vitals,
) {
    pingora.add_service(in_background("reload", Arc::new(reloader), vitals));
    pingora.add_service(in_background("health checks", rounds, vitals));
    pingora.add_service(in_background("telegram", telegram, vitals));
}

/// What the services share.
struct Parts {
    failures: Arc<Failures>,
    metrics: Arc<Metrics>,
    vitals: Vitals,
    access_log: access_log::AccessLog,
    writer: access_log::Writer,
    workshop: Workshop,
    telegram: Arc<Watch>,
    live: Arc<ArcSwap<Live>>,
}

impl Parts {
    fn make(
        loaded: &Loaded,
        log: &access_log::Settings,
        environment: &Environment,
        most_to_crm: usize,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let server = &loaded.config.server;
        let failures = Arc::new(Failures::new(MOST_ADDRESSES, clock));
        let metrics = Metrics::new(Arc::clone(&failures), (server.key_labels, server.address_labels), clock)?;
        panics::watch(metrics.panics()?);
        let (access_log, writer) =
            access_log::open(log, metrics.log_lines_dropped.clone(), clock).map_err(StartError::AccessLog)?;
        let telegram = Arc::new(Watch::new(Arc::clone(&metrics), clock.clone()));
        let before = (LastUsed::read(&server.state_dir), KnownOrigins::read(&server.state_dir));
        let states = Arc::new(KeyStates::after(before, clock));
        let workshop = Workshop {
            states: Arc::clone(&states),
            metrics: Arc::clone(&metrics),
            telegram: Arc::clone(&telegram),
            most_to_crm,
            rounds: Rounds::new(),
            seen: Arc::default(),
            lifelines: Lifelines::new(metrics.revocation.clone(), clock),
            senders: Arc::default(),
            access_log: access_log.clone(),
            places: loaded.config.listeners.iter().map(|listener| listener.place.clone()).collect(),
            supervisor: Supervisor::find(|name| environment.get(name)),
            clock: clock.clone(),
        };
        let live = workshop.live(&loaded.config, loaded.keys.keys.clone(), None)?;
        metrics.started(Reload::Accepted, clock.wall());
        Ok(Self {
            failures,
            metrics,
            vitals: Vitals::new(clock),
            access_log,
            writer,
            workshop,
            telegram,
            live: Arc::new(ArcSwap::from_pointee(live)),
        })
    }

    fn admin(&self, switches: &Switches, pass: Pass, upgrades: Upgrades) -> Admin {
        Admin {
            metrics: Arc::clone(&self.metrics),
            readiness: switches.readiness.clone(),
            vitals: self.vitals.clone(),
            failures: Arc::clone(&self.failures),
            pass,
            upgrades,
            doors: switches.doors.clone(),
            room: admin::Room::default(),
            leaving: switches.leave.subscribe(),
        }
    }

    /// What goes over at an upgrade.
    fn estate(&self) -> Estate {
        Estate {
            failures: Arc::clone(&self.failures),
            memories: Arc::clone(&self.workshop.seen),
            states: Arc::clone(&self.workshop.states),
        }
    }

    fn proxy(
        &self,
        limits: config::Limits,
        (draining, hang_up): (watch::Receiver<bool>, watch::Receiver<bool>),
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
            hang_up,
            id_seed: random_seed()?,
            next_id: AtomicU64::new(0),
        })
    }
}

/// A task in the background, watched.
fn in_background<A>(
    name: &'static str,
    task: Arc<A>,
    vitals: &Vitals,
) -> GenBackgroundService<Supervised<A>> {
    let supervised = Supervised::new(name, task, vitals.task(name));
    GenBackgroundService::new(name.to_owned(), Arc::new(supervised))
}

/// Who may ask the admin listener, and how others learn of it.
fn signs(
    server: &config::Server,
    sockets: &Sockets,
    origin: &mut Origin,
) -> Result<(Pass, Signs), StartError> {
    let pass = origin.pass(&server.state_dir).map_err(|_| StartError::NoRandomness)?;
    let door = Door::new(bound_admin(&sockets.admin.place, server.admin), pass.clone());
    Ok((pass, Signs::new(&server.state_dir, door)))
}

/// The address that the admin listener got, where port 0 was asked for.
const fn bound_admin(place: &Place, asked: SocketAddr) -> SocketAddr {
    match place {
        Place::Address(address) => *address,
        Place::Socket { .. } => asked,
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
