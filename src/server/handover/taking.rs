//! The process that comes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use nix::errno::Errno;

use super::super::inherited::{Given, Inherited};
use super::estate::{Estate, Held};
use super::words::{Talk, Word, receive_sockets};
use crate::config::environment::Environment;

/// Set for a process that takes over: its standard input is the talk.
pub(in crate::server) const TAKES_OVER: &str = "SIDELOCK_HANDOVER";

/// Looks at a process that dies, from the end of the talk on: 2 s.
const TO_DIE: u32 = 200;
/// Between two looks whether it is dead.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The process that this one takes over from.
#[derive(Debug)]
pub(in crate::server) struct Predecessor {
    talk: Talk,
    peer: Peer,
}

/// Who made the pair of sockets that the talk is over.
#[derive(Clone, Copy, Debug)]
struct Peer(Option<i32>);

impl Peer {
    #[cfg(target_os = "linux")]
    fn of(stream: &UnixStream) -> Self {
        use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
        // 0 stands for a process of another namespace, of which nothing can be known.
        let pid = getsockopt(stream, PeerCredentials).ok().map(|of| of.pid()).filter(|pid| *pid > 0);
        // Where even this process is not to be seen, no other one is.
        Self(pid.filter(|_| std::fs::exists("/proc/self/stat").unwrap_or_default()))
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_: &UnixStream) -> Self {
        Self(None)
    }

    /// True once it is known to have ended. Its sockets close a moment before.
    #[expect(clippy::disallowed_methods, reason = "the end of a process that is no child is no event")]
    fn has_ended_after(self, looks: u32) -> bool {
        (0..looks).any(|_| {
            std::thread::sleep(LOOK_EVERY);
            self.has_ended()
        })
    }

    fn has_ended(self) -> bool {
        let Some(pid) = self.0 else { return false };
        match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            // The state follows the name, which may have anything in it.
            Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with(['Z', 'X'])),
            Err(error) => {
                error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
            }
        }
    }
}

/// The predecessor talks no more, and goes on.
#[derive(Debug, thiserror::Error)]
#[error("the process that was to be replaced does not want this one, and goes on")]
pub struct Unwanted;

impl Predecessor {
    /// Meets it and takes its sockets; `None` if this process was started as usual.
    ///
    /// # Errors
    /// Nobody hands over, or not as this program does.
    pub(in crate::server) fn meet(environment: &Environment) -> io::Result<Option<(Self, Inherited)>> {
        if environment.get(TAKES_OVER).is_none() {
            return Ok(None);
        }
        let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        // What this process starts must not have it.
        nix::unistd::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        let peer = Peer::of(&stream);
        match Self::given(stream, peer) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                silent(peer).map(|()| None).map_err(io::Error::other)
            }
            given => given.map(Some),
        }
    }

    fn given(stream: UnixStream, peer: Peer) -> io::Result<(Self, Inherited)> {
        let sockets = receive_sockets(&stream)?;
        let mut talk = Talk::over(stream);
        let spots = match talk.hear()? {
            Some(Word::Sockets(spots)) if spots.len() == sockets.len() => spots,
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let given = spots.into_iter().zip(sockets);
        let given = given.map(|(spot, socket)| Given { spot, socket }).collect();
        Ok((Self { talk, peer }, Inherited::new(given)))
    }

    /// Everything is open. Returns what the predecessor knows when it says to run, or when it is gone: then somebody must run.
    ///
    /// # Errors
    /// It is there and does not want this process. As a rule it ends it, but a program between the two may shield it.
    pub(in crate::server) fn prepared(&mut self) -> Result<Vec<Word>, Unwanted> {
        let mut told = Vec::new();
        if self.talk.say(&Word::Prepared).is_ok() {
            while let Ok(Some(word)) = self.talk.hear() {
                if matches!(word, Word::Go) {
                    return Ok(told);
                }
                told.push(word);
            }
        }
        silent(self.peer).map(|()| told)
    }

    /// Connections are taken: the predecessor may stop. What it learns until it has ended is learnt here too, by a thread that ends
    /// with it.
    pub(in crate::server) fn running(mut self, estate: Estate, mut held: Held) -> Option<JoinHandle<()>> {
        // If it is gone, nobody needs to know.
        drop(self.talk.say(&Word::Running));
        let listen = move || {
            while let Ok(Some(word)) = self.talk.hear() {
                estate.learn(word, &mut held);
            }
            tracing::info!("the process that was replaced has ended");
        };
        let listening = std::thread::Builder::new().name("predecessor".into()).spawn(listen);
        let deaf = |error: &io::Error| {
            tracing::warn!(%error, "nobody hears what the process that was replaced has to say");
        };
        listening.inspect_err(deaf).ok()
    }

    /// This process will not run.
    pub(in crate::server) fn failed(mut self, why: &str) {
        // If the predecessor does not hear it, it sees this process end.
        drop(self.talk.say(&Word::Failed(why.to_owned())));
    }
}

/// The talk is over before its time: right if the predecessor has died.
fn silent(peer: Peer) -> Result<(), Unwanted> {
    if !peer.has_ended_after(TO_DIE) {
        return Err(Unwanted);
    }
    tracing::warn!("the process that was to be replaced is gone");
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_that_closes_the_talk_and_lives_is_not_gone() {
        let (one, other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one);
        assert_eq!(peer.0, i32::try_from(std::process::id()).ok(), "whoever made the pair");
        let mut predecessor = Predecessor { talk: Talk::over(one), peer };
        drop(other);
        assert!(!peer.has_ended());
        assert!(predecessor.prepared().is_err(), "it would be a second one");
        assert!(!Peer(None).has_ended(), "nothing is known of it");
    }

    #[test]
    fn one_that_was_killed_is_gone_before_and_after_its_parent_knows() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let peer = Peer(i32::try_from(child.id()).ok());
        assert!(!peer.has_ended());
        child.kill().unwrap();
        assert!(peer.has_ended_after(TO_DIE));
        child.wait().unwrap();
        assert!(peer.has_ended());
    }
}
