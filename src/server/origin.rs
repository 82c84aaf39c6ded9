//! How a process came to be: alone, or as the successor of one that runs.

use std::io;

use super::handover::taking::Predecessor;
use super::inherited::Inherited;
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
        let (predecessor, inherited) = Predecessor::meet(environment)?.unzip();
        Ok(Self { inherited: inherited.unwrap_or_default(), predecessor, may_upgrade: true })
    }

    /// This process will not run, for this reason.
    pub fn give_up(&mut self, why: &str) {
        if let Some(predecessor) = self.predecessor.take() {
            predecessor.failed(why);
        }
    }

    /// Everything is open: waits for the word to run.
    pub(super) fn wait_for_go(&mut self) -> io::Result<()> {
        self.predecessor.as_mut().map_or(Ok(()), Predecessor::prepared)
    }
}
