//! Sockets that are bound before pingora starts, and pingora's service on them.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{IntoRawFd, RawFd};

use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::listeners::{L4BufferSettings, ListenerConfig};
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::listening::Service;

use super::StartError;

/// A socket that listens, not yet handed over.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) address: SocketAddr,
    descriptor: RawFd,
}

impl Bound {
    pub(super) fn bind(address: SocketAddr) -> Result<Self, StartError> {
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
pub(super) struct Listening<A> {
    service: Service<A>,
    sockets: Vec<Bound>,
    /// When to stop accepting; `None` for as long as the process lives.
    draining: Option<ShutdownWatch>,
    threads: Option<usize>,
}

impl<A> Listening<A> {
    pub(super) fn new(
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
