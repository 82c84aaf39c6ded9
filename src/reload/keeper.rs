//! When keys were last used, and from where, kept on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::write_whole;
use crate::clock::{Moment, Seldom};
use crate::keys::state::KeyStates;
use crate::keys::{last_used, origins_file};

/// Time between two writes, if something changed.
const EVERY: Duration = Duration::from_secs(60);

/// Writes what is known; clones share what was written last.
#[derive(Clone, Debug)]
pub struct Keeper {
    states: Arc<KeyStates>,
    last_used: Arc<Kept>,
    origins: Arc<Kept>,
    pace: Arc<Seldom>,
    is_retired: Arc<AtomicBool>,
}

/// A file, and what was written into it last.
#[derive(Debug)]
struct Kept {
    file: PathBuf,
    written: Mutex<String>,
}

impl Keeper {
    /// Into the state folder.
    pub fn new(states: &Arc<KeyStates>, state_dir: &Path) -> Self {
        let kept = |name: &str| Arc::new(Kept { file: state_dir.join(name), written: Mutex::default() });
        Self {
            states: Arc::clone(states),
            last_used: kept(last_used::FILE),
            origins: kept(origins_file::FILE),
            pace: Arc::default(),
            is_retired: Arc::default(),
        }
    }

    /// Writes it, if it is time to.
    pub fn keep_sometimes(&self, now: Moment) {
        if self.pace.may(now, EVERY) {
            self.keep();
        }
    }

    /// Another process has the state folder: from now on nothing is written there.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    /// True after [`Self::retire`].
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// Writes what changed.
    pub fn keep(&self) {
        if self.is_retired() {
            return;
        }
        self.last_used.keep(|| self.states.last_used().text());
        self.origins.keep(|| self.states.origins().text());
    }
}

impl Kept {
    fn keep(&self, text: impl FnOnce() -> String) {
        // One at a time: what is made later is written later.
        let mut written = self.written.lock();
        let text = text();
        if text == *written {
            return;
        }
        match write_whole(&self.file, text.as_bytes()) {
            Ok(()) => *written = text,
            Err(error) => {
                tracing::warn!(%error, path = %self.file.display(), "cannot keep how keys were last used");
            }
        }
    }
}
