//! Composition: one configuration becomes one process.
//!
//! Sockets are bound before pingora starts, so that a port in use is an error with a name and port 0 tells its number.

mod descriptors;
mod listening;
mod stop;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use arc_swap::ArcSwap;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server};
use pingora_core::services::background::GenBackgroundService;
use tokio::sync::watch;

use crate::access_log;
use crate::admin::pass::{self, Door, Pass};
use crate::admin::{Admin, Readiness};
use crate::clock::{Clock, Seldom};
use crate::config::environment::Environment;
use crate::config::load::{Fingerprint, Loaded};
use crate::config::{self, Config, Place};
use crate::keys::last_used::LastUsed;
use crate::keys::origins_file::KnownOrigins;
use crate::keys::state::KeyStates;
use crate::limits::failures::{Failures, MOST_ADDRESSES};
use crate::metrics::{Metrics, Reload};
use crate::proxy::connection::Accept;
use crate::proxy::doors::Doorkeeper;
use crate::proxy::front::Fronts;
use crate::proxy::held::Room;
use crate::proxy::lifeline::Lifelines;
use crate::proxy::places::Connections;
use crate::proxy::upstream::checks::Rounds;
use crate::proxy::{Live, Proxy};
use crate::reload::keeper::Keeper;
use crate::reload::{Reloader, Workshop, write_whole};
use crate::telegram::watch::Watch;
use crate::tls::TlsError;
use listening::{Bound, Listening, SocketFile};
use stop::Stop;

/// The file in the state folder with the process id.
pub const PID: &str = "sidelock.pid";

/// A process that is ready to run: its sockets are bound.
pub struct Sidelock {
    server: Server,
    writer: access_log::Writer,
    stop: Stop,
    pid_file: PathBuf,
    /// For commands that ask the admin listener.
    door: (PathBuf, Door),
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
        let sockets =
            listeners.iter().map(|listener| Bound::bind(&listener.place)).collect::<Result<Vec<_>, _>>()?;
        let admin_socket = Bound::bind(&Place::Address(server.admin))?;
        let listening = sockets.iter().map(|bound| bound.place.clone()).collect();
        let socket_files = sockets.iter().filter_map(Bound::file).collect();
        let admin = admin_socket.place.clone();
        let fronts = Fronts::new(sockets.iter().map(Bound::front).collect());

        let parts = Parts::make(&loaded, server, &access_log.0, clock)?;
        let (drain, draining) = watch::channel(false);
        let readiness = Readiness::default();
        let metrics = Arc::clone(&parts.metrics);
        let stop = Stop { readiness: readiness.clone(), drain, metrics, timeouts: *timeouts };
        let proxy = parts.proxy(descriptors::fit(*limits), fronts, draining.clone(), clock)?;
        let pass = Pass::generate().map_err(|_| StartError::NoRandomness)?;
        let door = Door::new(bound_admin(&admin, server.admin), pass.clone());
        let admin_app = Admin::new(parts.metrics, readiness, Arc::clone(&parts.failures), pass);
        let rounds = Arc::clone(&parts.workshop.rounds);
        let keeper = Keeper::new(&parts.workshop.states, &server.state_dir);
        let reloader = Reloader::new(
            path.to_owned(),
            environment,
            parts.live,
            parts.workshop,
            &loaded,
            seen,
            keeper.clone(),
        );

        let mut pingora = Server::new_with_opt_and_conf(None, pingora_conf(server));
        pingora.add_service(for_clients(proxy, sockets, draining));
        pingora.add_service(Listening::new("admin", admin_app, vec![admin_socket], None, Some(1)));
        add_background(&mut pingora, reloader, rounds, parts.telegram);
        let [door_file, pid_file] = [pass::FILE, PID].map(|name| server.state_dir.join(name));
        Ok(Self {
            server: pingora,
            writer: parts.writer,
            stop,
            pid_file,
            door: (door_file, door),
            keeper,
            socket_files,
            listening,
            admin,
        })
    }

    /// Runs until a signal ends it. Once per process: pingora keeps what it knows of threads for ever. What was logged is written before it returns.
    pub fn run(self) {
        let Self { server, writer, stop, pid_file, door, keeper, socket_files, listening: _, admin: _ } =
            self;
        if let Err(error) = std::fs::write(&pid_file, std::process::id().to_string()) {
            tracing::warn!(%error, path = %pid_file.display(), "cannot write the process id: 'sidelock reload' will not work");
        }
        let (door_file, door) = door;
        if let Err(error) = write_whole(&door_file, door.text().expose()) {
            tracing::warn!(%error, path = %door_file.display(), "cannot write how to ask: 'sidelock bans' and 'addresses' will not work");
        }
        server.run(RunArgs { shutdown_signal: Box::new(stop) });
        keeper.keep();
        // Another process may have taken over the file, or the folder be gone.
        drop(std::fs::remove_file(pid_file));
        drop(std::fs::remove_file(door_file));
        socket_files.into_iter().for_each(SocketFile::remove);
        drop(writer);
    }
}

/// What goes on beside requests.
fn add_background(pingora: &mut Server, reloader: Reloader, rounds: Arc<Rounds>, telegram: Arc<Watch>) {
    pingora.add_service(GenBackgroundService::new("reload".to_owned(), Arc::new(reloader)));
    pingora.add_service(GenBackgroundService::new("health".to_owned(), rounds));
    pingora.add_service(GenBackgroundService::new("telegram".to_owned(), telegram));
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
        log: &access_log::Settings,
        clock: &Clock,
    ) -> Result<Self, StartError> {
        let failures = Arc::new(Failures::new(MOST_ADDRESSES, clock));
        let metrics = Metrics::new(Arc::clone(&failures), (server.key_labels, server.address_labels), clock)?;
        let (access_log, writer) =
            access_log::open(log, metrics.log_lines_dropped.clone(), clock).map_err(StartError::AccessLog)?;
        let telegram = Arc::new(Watch::new(Arc::clone(&metrics), clock.clone()));
        let before = (LastUsed::read(&server.state_dir), KnownOrigins::read(&server.state_dir));
        let states = Arc::new(KeyStates::after(before, clock));
        let workshop = Workshop {
            states: Arc::clone(&states),
            metrics: Arc::clone(&metrics),
            telegram: Arc::clone(&telegram),
            rounds: Rounds::new(),
            seen: dashmap::DashMap::new(),
            lifelines: Lifelines::new(metrics.revocation.clone(), clock),
            senders: Arc::default(),
            access_log: access_log.clone(),
            places: loaded.config.listeners.iter().map(|listener| listener.place.clone()).collect(),
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
        fronts: Fronts,
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
            fronts,
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

/// The listeners for clients, with someone at their doors.
fn for_clients(proxy: Proxy, sockets: Vec<Bound>, draining: watch::Receiver<bool>) -> Listening<Accept> {
    let proxy = Arc::new(proxy);
    let doorkeeper = Arc::new(Doorkeeper(Arc::clone(&proxy)));
    Listening::new("proxy", Accept(proxy), sockets, Some(draining), None).behind(doorkeeper)
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
