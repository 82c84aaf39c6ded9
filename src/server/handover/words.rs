//! What the process that goes and the one that comes say to each other: one JSON object a line, over a pair of sockets that
//! nobody else has. The listening sockets come first, beside a single byte.

use std::io::{self, BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde::{Deserialize, Serialize};

use super::estate::{CarriedBan, CarriedDeliveries};
use crate::config::Place;

/// Most sockets that are handed over; the kernel takes 253 at once.
pub(in crate::server) const MOST_SOCKETS: usize = 250;
/// Longest line, in bytes: what a webhook remembers is the longest.
const MOST_LINE: u64 = 16 << 20;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Word {
    /// The one that goes: where the sockets listen that came, in their order.
    Sockets(Vec<Spot>),
    /// The one that comes: its files are good, and what it listens on is open.
    Prepared,
    /// The one that goes: who is banned.
    Bans(Vec<CarriedBan>),
    /// The one that goes: deliveries that it saw.
    Deliveries(CarriedDeliveries),
    /// The one that goes: how keys are used, as in its file.
    LastUsed(String),
    /// The one that goes: from where, as in its file.
    Networks(String),
    /// The one that goes: that was all for now; run.
    Go,
    /// The one that comes: it takes connections.
    Running,
    /// The one that comes: it cannot.
    Failed(String),
}

/// Where a socket listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct Spot {
    pub(in crate::server) role: Role,
    pub(in crate::server) owner: Owner,
    /// As the configuration names it, with port 0 where any would do.
    pub(in crate::server) asked: At,
    /// As it is.
    pub(in crate::server) bound: At,
}

/// Who connects there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Role {
    Clients,
    Admin,
}

/// Who made it, and removes its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum Owner {
    Us,
    Supervisor,
}

/// An address or a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum At {
    Address(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for At {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<&Place> for At {
    fn from(place: &Place) -> Self {
        match place {
            Place::Address(address) => Self::Address(*address),
            Place::Socket { path, .. } => Self::Unix(path.clone()),
        }
    }
}

/// The line of a word.
///
/// # Errors
/// None that can happen; they are the serialiser's.
pub(in crate::server) fn line(word: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(word)?;
    line.push(b'\n');
    Ok(line)
}

/// The word of a line.
///
/// # Errors
/// Not a word that this program knows.
pub(in crate::server) fn word(line: &[u8]) -> io::Result<Word> {
    Ok(serde_json::from_slice(line)?)
}

/// Sends listening sockets.
///
/// # Errors
/// The operating system's.
pub(in crate::server) fn send_sockets(to: &UnixStream, sockets: &[RawFd]) -> io::Result<()> {
    sendmsg::<()>(
        to.as_raw_fd(),
        &[IoSlice::new(b".")],
        &[ControlMessage::ScmRights(sockets)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Receives listening sockets: those that there was room for, so whoever knows their number compares it.
///
/// # Errors
/// The operating system's, and the end of the talk.
pub(in crate::server) fn receive_sockets(from: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut room = vec![0; rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut room = RecvAncillaryBuffer::new(&mut room);
    let message = recvmsg(from, &mut parts, &mut room, RecvFlags::CMSG_CLOEXEC)?;
    let mut sockets = Vec::new();
    for control in room.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = control {
            sockets.extend(received);
        }
    }
    if message.bytes == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(sockets)
}

/// The talk as the one that comes has it: it may wait.
#[derive(Debug)]
pub(in crate::server) struct Talk(BufReader<UnixStream>);

impl Talk {
    pub(in crate::server) fn over(stream: UnixStream) -> Self {
        Self(BufReader::new(stream))
    }

    /// The next word that this program knows; `None` once the other has ended.
    ///
    /// # Errors
    /// The operating system's, and a line that has no end.
    pub(in crate::server) fn hear(&mut self) -> io::Result<Option<Word>> {
        loop {
            let mut line = Vec::new();
            let read = (&mut self.0).take(MOST_LINE).read_until(b'\n', &mut line)?;
            match line.last() {
                // Another version may have more to say.
                Some(b'\n') => match word(&line) {
                    Ok(word) => return Ok(Some(word)),
                    Err(error) => {
                        tracing::debug!(%error, "the other process said what this one does not know")
                    }
                },
                Some(_) if u64::try_from(read).is_ok_and(|read| read >= MOST_LINE) => {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                Some(_) | None => return Ok(None),
            }
        }
    }

    /// Says a word.
    ///
    /// # Errors
    /// The other has ended.
    pub(in crate::server) fn say(&mut self, word: &Word) -> io::Result<()> {
        self.0.get_mut().write_all(&line(word)?)
    }
}
