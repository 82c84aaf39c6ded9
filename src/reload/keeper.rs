//! When keys were last used, kept on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::write_whole;
use crate::clock::{Moment, Seldom};
use crate::keys::last_used::FILE;
use crate::keys::state::KeyStates;

/// Time between two writes, if something changed.
const EVERY: Duration = Duration::from_secs(60);

/// Writes what is known; clones share what was written last.
#[derive(Clone, Debug)]
pub struct Keeper {
    states: Arc<KeyStates>,
    file: PathBuf,
    written: Arc<Mutex<String>>,
    pace: Arc<Seldom>,
}

impl Keeper {
    /// Into the state folder.
    pub fn new(states: &Arc<KeyStates>, state_dir: &Path) -> Self {
        let (written, pace) = (Arc::default(), Arc::default());
        Self { states: Arc::clone(states), file: state_dir.join(FILE), written, pace }
    }

    /// Writes it, if it is time to.
    pub fn keep_sometimes(&self, now: Moment) {
        if self.pace.may(now, EVERY) {
            self.keep();
        }
    }

    /// Writes it, if something changed.
    pub fn keep(&self) {
        let mut written = self.written.lock();
        let text = self.states.last_used().text();
        if text == *written {
            return;
        }
        match write_whole(&self.file, text.as_bytes()) {
            Ok(()) => *written = text,
            Err(error) => {
                tracing::warn!(%error, path = %self.file.display(), "cannot keep when keys were last used");
            }
        }
    }
}
