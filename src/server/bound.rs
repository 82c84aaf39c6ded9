//! Sockets that are bound before pingora starts.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::StartError;
use super::handover::words::{At, Owner, Role, Spot};
use super::inherited::Inherited;
use crate::config::Place;
use crate::socket::Listener;

/// Connections that wait to be accepted; the system allows fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 65_535;

/// A socket that listens, not yet handed over.
#[derive(Debug)]
pub(super) struct Bound {
    /// With the true port where 0 was asked for.
    pub(super) place: Place,
    role: Role,
    owner: Owner,
    /// As the configuration names it.
    asked: At,
    pub(super) socket: Listener,
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
                Ok((Place::Address(bound), given.socket))
            }
            (Some(given), Place::Socket { path, mode }) => {
                owner = given.spot.owner;
                close_to_others(path, *mode, owner).map(|()| (place.clone(), given.socket))
            }
            (None, Place::Address(address)) => Self::at_address(*address),
            (None, Place::Socket { path, mode }) => Self::at_path(path, *mode),
        };
        let listening = opened.and_then(|(place, socket)| {
            SockRef::from(&socket).listen(BACKLOG)?;
            Ok((place, socket))
        });
        let (place, socket) = listening.map_err(|error| StartError::Listen(place.clone(), error))?;
        let socket = match &place {
            Place::Address(_) => Listener::tcp(socket),
            Place::Socket { .. } => Listener::unix(socket),
        };
        Ok(Self { place, role, owner, asked, socket })
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
            self.socket.as_raw_fd(),
        )
    }

    fn at_address(address: SocketAddr) -> io::Result<(Place, OwnedFd)> {
        let domain = Domain::for_address(address);
        let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let bound = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok((Place::Address(bound), socket.into()))
    }

    fn at_path(path: &Path, mode: u32) -> io::Result<(Place, OwnedFd)> {
        remove_stale(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        // SECURITY: nobody can connect before `listen`, so nobody does with the mode that the file was made with.
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
        let place = Place::Socket { path: path.to_owned(), mode };
        Ok((place, socket.into()))
    }

    /// The socket file, to be removed at the end, unless it is somebody else's.
    pub(super) fn file(&self) -> Option<SocketFile> {
        let (Place::Socket { path, .. }, Owner::Us) = (&self.place, self.owner) else { return None };
        Some(SocketFile { path: path.clone(), inode: std::fs::symlink_metadata(path).ok()?.ino() })
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

/// Gives the file of a socket that was opened before its `mode`.
///
/// SECURITY: whoever may connect there counts as this machine; where a supervisor owns the file, its mode may be narrower and not
/// wider.
fn close_to_others(path: &Path, mode: u32, owner: Owner) -> io::Result<()> {
    const ACCESS: u32 = 0o777;
    let now = std::fs::symlink_metadata(path)?.permissions().mode() & ACCESS;
    let is_wider = now & !mode != 0;
    if now == mode || owner == Owner::Supervisor && !is_wider {
        return Ok(());
    }
    if std::fs::set_permissions(path, Permissions::from_mode(mode)).is_ok() || !is_wider {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "its mode is {now:04o}, wider than {mode:04o}: set SocketMode= in the unit"
    )))
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

#[cfg(test)]
mod tests {
    use super::super::inherited::Given;
    use super::*;

    #[test]
    fn a_socket_file_that_was_there_gets_the_mode_of_now() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door.sock");
        for (before, asked) in [(0o666, 0o600), (0o600, 0o660), (0o660, 0o660)] {
            drop(std::fs::remove_file(&path));
            let place = |mode| Place::Socket { path: path.clone(), mode };
            let first = Bound::bind(&place(before), Role::Clients, &mut Inherited::default()).unwrap();
            let (spot, _) = first.handed();
            let Listener::Unix(socket) = first.socket else { panic!("no socket file") };
            let mut inherited = Inherited::new(vec![Given { spot, socket: socket.into() }]);
            Bound::bind(&place(asked), Role::Clients, &mut inherited).unwrap();
            let mode = std::fs::symlink_metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, asked);
        }
    }
}
