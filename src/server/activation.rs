//! Sockets that systemd listens at and lends (`sd_listen_fds(3)`), so that a restart loses no connection.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, MsgFlags, SockaddrLike, SockaddrStorage, getsockname, recvmsg};

use super::handover::words::{At, MOST_SOCKETS, Owner, Role, Spot, receive_sockets, send_sockets};
use super::inherited::{Given, Inherited};
use crate::config::environment::Environment;

/// The first descriptor that is lent.
const FIRST: RawFd = 3;
/// `O_NONBLOCK`, as the kernel prints flags.
const NONBLOCKING: u32 = 0o4000;

/// The sockets that are lent to this process.
///
/// # Errors
/// A descriptor that is no listening socket, or one that would make a thread wait.
pub(super) fn sockets(environment: &Environment) -> io::Result<Inherited> {
    let number = |name: &str| environment.get(name).and_then(|value| value.parse::<u32>().ok());
    let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else {
        return Ok(Inherited::default());
    };
    if pid != std::process::id() || count == 0 {
        return Ok(Inherited::default());
    }
    let most = u32::try_from(MOST_SOCKETS).unwrap_or(u32::MAX);
    let lent: Vec<RawFd> = (FIRST..).zip(0..count.min(most)).map(|(descriptor, _)| descriptor).collect();
    for descriptor in &lent {
        check(*descriptor)?;
    }
    // Sent to ourselves they come back as descriptors that no process that is started here gets.
    let (one, other) = UnixStream::pair()?;
    send_sockets(&one, &lent)?;
    let own = receive_sockets(&other)?;
    if own.len() != lent.len() {
        return Err(io::Error::other("not all sockets that were lent could be taken"));
    }
    lent.into_iter().try_for_each(nix::unistd::close)?;
    let given = |socket: OwnedFd| {
        let bound = at(socket.as_raw_fd())?;
        // Its place tells what it is for.
        let spot = Spot { role: Role::Clients, owner: Owner::Supervisor, asked: bound.clone(), bound };
        Ok(Given { spot, socket })
    };
    Ok(Inherited::new(own.into_iter().map(given).collect::<io::Result<_>>()?))
}

/// Only what listens for streams can be accepted from; and a descriptor that blocks would stop a thread, and with it all its clients.
fn check(descriptor: RawFd) -> io::Result<()> {
    let place = at(descriptor)?;
    if !listens_for_streams(descriptor) {
        return Err(io::Error::other(format!(
            "the socket that was lent for {place} does not listen for streams: the unit needs ListenStream= and Accept=no"
        )));
    }
    let told = std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))?;
    let flags = told.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
    if flags.is_some_and(|flags| flags & NONBLOCKING != 0) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the socket that was lent for {place} blocks: set NonBlocking=yes in the unit"
    )))
}

/// What takes datagrams, or is a connection, could be read from; nothing is taken away.
fn listens_for_streams(descriptor: RawFd) -> bool {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let peeked = recvmsg::<()>(descriptor, &mut parts, None, MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT);
    matches!(peeked, Err(Errno::ENOTCONN | Errno::EINVAL))
}

fn at(descriptor: RawFd) -> io::Result<At> {
    let name = getsockname::<SockaddrStorage>(descriptor)
        .map_err(|error| io::Error::other(format!("descriptor {descriptor}, which was lent: {error}")))?;
    let address = match name.family() {
        Some(AddressFamily::Inet) => name.as_sockaddr_in().map(|it| SocketAddr::V4((*it).into())),
        Some(AddressFamily::Inet6) => name.as_sockaddr_in6().map(|it| SocketAddr::V6((*it).into())),
        _ => None,
    };
    let path = || Some(At::Unix(name.as_unix_addr()?.path()?.to_owned()));
    address.map(At::Address).or_else(path).ok_or_else(|| {
        io::Error::other(format!("descriptor {descriptor}, which was lent, is no socket that clients reach"))
    })
}
