//! Sockets that are bound before pingora starts, and pingora's service on them.

use std::fs::Permissions;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::listening::Service;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::sync::mpsc;

use super::StartError;
use super::handover::words::{At, Owner, Role, Spot};
use super::inherited::Inherited;
use super::pulse;
use crate::config::Place;
use crate::proxy::front;
use crate::vitals::Vitals;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;

/// A socket that listens, not yet handed over.
#[derive(Debug)]
pub(super) struct Bound {
    /// With the true port where 0 was asked for.
    pub(super) place: Place,
    role: Role,
    owner: Owner,
    /// As the configuration names it.
    asked: At,
    descriptor: RawFd,
}

impl Bound {
    /// Takes a socket that was opened before, or opens one.
    pub(super) fn bind(place: &Place, role: Role, inherited: &mut Inherited) -> Result<Self, StartError> {
        let asked = At::from(place);
        let mut owner = Owner::Us;
        let opened = match (inherited.take(place, role), place) {
            (Some(given), Place::Address(address)) => {
                owner = given.spot.owner;
                let bound = if let At::Address(bound) = given.spot.bound { bound } else { *address };
                Ok((Place::Address(bound), given.descriptor))
            }
            (Some(given), Place::Socket { .. }) => {
                owner = given.spot.owner;
                Ok((place.clone(), given.descriptor))
            }
            (None, Place::Address(address)) => Self::at_address(*address),
            (None, Place::Socket { path, mode }) => Self::at_path(path, *mode),
        };
        let (place, descriptor) = opened.map_err(|error| StartError::Listen(place.clone(), error))?;
        Ok(Self { place, role, owner, asked, descriptor })
    }

    /// For the process that takes over: where it listens, and the socket, which is open until the service stops accepting.
    pub(super) fn handed(&self) -> (Spot, RawFd) {
        (
            Spot {
                role: self.role,
                owner: self.owner,
                asked: self.asked.clone(),
                bound: At::from(&self.place),
            },
            self.descriptor,
        )
    }

    fn at_address(address: SocketAddr) -> io::Result<(Place, RawFd)> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let place = Place::Address(listener.local_addr()?);
        Ok((place, listener.into_raw_fd()))
    }

    fn at_path(path: &Path, mode: u32) -> io::Result<(Place, RawFd)> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // SECURITY: nobody can connect before `listen`, so nobody does with the mode that the file was made with.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        let place = Place::Socket { path: path.to_owned(), mode };
        Ok((place, socket.into_raw_fd()))
    }

    /// Where connections by it are told from others.
    pub(super) fn front(&self) -> front::Bound {
        match &self.place {
            Place::Address(address) => front::Bound::Address(*address),
            Place::Socket { path, .. } => front::Bound::Socket(path.clone()),
        }
    }

    /// The socket file, to be removed at the end, unless it is somebody else's.
    pub(super) fn file(&self) -> Option<SocketFile> {
        let (Place::Socket { path, .. }, Owner::Us) = (&self.place, self.owner) else { return None };
        Some(SocketFile { path: path.clone(), inode: std::fs::symlink_metadata(path).ok()?.ino() })
    }

    /// As pingora calls it.
    fn name(&self) -> String {
        match &self.place {
            Place::Address(address) => address.to_string(),
            Place::Socket { path, .. } => path.display().to_string(),
        }
    }

    fn config(&self) -> ListenerConfig {
        match &self.place {
            Place::Address(_) => ListenerConfig::tcp(self.name()),
            Place::Socket { mode, .. } => {
                ListenerConfig::uds(self.name()).permissions(Permissions::from_mode(*mode))
            }
        }
    }
}

/// A socket file of ours.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl SocketFile {
    /// Removes it, unless another process has put its own there.
    pub(super) fn remove(self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.ino() == self.inode) {
            // If that fails, the next start finds it stale.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Removes a socket file that nobody listens at any more; anything else that stands in the way stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(io::Error::other("something that is no socket is there")),
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
        Ok(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// A pingora listening service on sockets that are already bound, with our own word on when to stop accepting.
pub(super) struct Listening<A> {
    service: Service<A>,
    sockets: Vec<Bound>,
    /// When to stop accepting.
    draining: ShutdownWatch,
    /// Told once, when it accepts; dropped without a word if it never will.
    up: Option<mpsc::Sender<()>>,
    /// Where it is told that nobody accepts any more, and, if so many threads serve, where each is heard of.
    vitals: Vitals,
    pulses: Option<usize>,
    threads: Option<usize>,
}

impl<A> Listening<A> {
    pub(super) fn new(
        name: &str,
        app: A,
        sockets: Vec<Bound>,
        draining: ShutdownWatch,
        up: mpsc::Sender<()>,
        (vitals, threads): (Vitals, Option<usize>),
    ) -> Self {
        let mut service = Service::new(name.to_owned(), app);
        for bound in &sockets {
            // hyper has its own buffers.
            service.add_listener(bound.config().l4_buffer(L4BufferSettings::unbuffered()));
        }
        Self { service, sockets, draining, up: Some(up), vitals, pulses: None, threads }
    }

    /// With a beat on each of its threads.
    pub(super) fn with_pulses(self, threads: usize) -> Self {
        Self { pulses: Some(threads), ..self }
    }
}

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> pingora_core::services::Service for Listening<A> {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        _shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        if let Some(table) = &fds {
            let mut table = table.lock();
            for bound in self.sockets.drain(..) {
                table.add(bound.name(), bound.descriptor);
            }
        }
        if let Some(threads) = self.pulses {
            pulse::start(&self.vitals, threads).await;
        }
        let listening = self.vitals.task("a listener");
        let (mut up, draining) = (self.up.take(), self.draining.clone());
        let service = pingora_core::services::Service::start_service(
            &mut self.service,
            fds,
            draining,
            listeners_per_fd,
        );
        let mut service = std::pin::pin!(service);
        // It opens its listeners when it is polled for the first time, and waits from then on.
        poll_fn(|cx| {
            let polled = service.as_mut().poll(cx);
            if let Some(up) = up.take().filter(|_| polled.is_pending()) {
                // There is room for a word of each service.
                let _ = up.try_send(());
            }
            polled
        })
        .await;
        if matches!(self.draining.has_changed(), Ok(false)) {
            tracing::error!("nobody accepts connections any more");
            listening.down();
        }
    }

    fn name(&self) -> &str {
        pingora_core::services::Service::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}
