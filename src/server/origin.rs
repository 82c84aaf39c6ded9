//! How a process came to be: alone, or as the successor of one that runs.

use std::io;
use std::path::Path;

use super::activation;
use super::handover::taking::{Predecessor, Unwanted};
use super::handover::words::Word;
use super::inherited::Inherited;
use crate::admin::pass::{Door, Pass};
use crate::config::environment::Environment;

/// What was there before this process.
#[derive(Debug)]
pub struct Origin {
    pub(super) inherited: Inherited,
    pub(super) predecessor: Option<Predecessor>,
    /// False where the program's arguments would not start the same thing again.
    pub(super) may_upgrade: bool,
}

impl Origin {
    /// Nothing, and no upgrades.
    pub fn alone() -> Self {
        Self { inherited: Inherited::default(), predecessor: None, may_upgrade: false }
    }

    /// As the environment tells.
    ///
    /// # Errors
    /// It names what is not there.
    pub fn find(environment: &Environment) -> io::Result<Self> {
        Ok(match Predecessor::meet(environment)? {
            Some((predecessor, inherited)) => {
                Self { inherited, predecessor: Some(predecessor), may_upgrade: true }
            }
            None => {
                Self { inherited: activation::sockets(environment)?, predecessor: None, may_upgrade: true }
            }
        })
    }

    /// This process will not run, for this reason.
    pub fn give_up(&mut self, why: &str) {
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.failed(why);
        }
    }

    /// What opens the guarded paths of the admin listener. It stays the same at an upgrade: either process may be asked.
    pub(super) fn pass(&self, state_dir: &Path) -> Result<Pass, getrandom::Error> {
        let kept = self.predecessor.as_ref().and_then(|_| Door::read(state_dir).ok().flatten());
        kept.map_or_else(Pass::generate, |door| Ok(door.pass))
    }

    /// Everything is open: waits for the word to run, and tells what the predecessor knows.
    ///
    /// # Errors
    /// The predecessor goes on.
    pub(super) fn wait_for_go(&mut self) -> Result<Vec<Word>, Unwanted> {
        self.predecessor.as_mut().map_or_else(|| Ok(Vec::new()), Predecessor::prepared)
    }
}
