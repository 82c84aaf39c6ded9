//! The process that comes.

use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use super::super::inherited::{Given, Inherited};
use super::estate::{Estate, Held};
use super::words::{Talk, Word, receive_sockets};
use crate::config::environment::Environment;

/// Set for a process that takes over: its standard input is the talk.
pub(in crate::server) const TAKES_OVER: &str = "SIDELOCK_HANDOVER";

/// The process that this one takes over from.
#[derive(Debug)]
pub(in crate::server) struct Predecessor {
    talk: Talk,
}

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
        match Self::given(stream) {
            // It died before it gave anything: somebody must run.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tracing::warn!("the process that was to be replaced is gone");
                Ok(None)
            }
            given => given.map(Some),
        }
    }

    fn given(stream: UnixStream) -> io::Result<(Self, Inherited)> {
        let sockets = receive_sockets(&stream)?;
        let mut talk = Talk::over(stream);
        let spots = match talk.hear()? {
            Some(Word::Sockets(spots)) if spots.len() == sockets.len() => spots,
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
            None => return Err(io::ErrorKind::UnexpectedEof.into()),
        };
        let given = spots.into_iter().zip(sockets);
        let given = given.map(|(spot, descriptor): (_, RawFd)| Given { spot, descriptor }).collect();
        Ok((Self { talk }, Inherited::new(given)))
    }

    /// Everything is open. Returns what the predecessor knows when it says to run, or when it is gone: then somebody must run. One
    /// that is there and does not want this process ends it.
    pub(in crate::server) fn prepared(&mut self) -> Vec<Word> {
        let mut told = Vec::new();
        if self.talk.say(&Word::Prepared).is_ok() {
            while let Ok(Some(word)) = self.talk.hear() {
                if matches!(word, Word::Go) {
                    return told;
                }
                told.push(word);
            }
        }
        tracing::warn!("the process that was to be replaced is gone");
        told
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
