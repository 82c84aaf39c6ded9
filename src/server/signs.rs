//! What a running process leaves in the state folder for commands: its id, and where its admin listener is.

use std::path::{Path, PathBuf};

use super::PID;
use crate::admin::pass::{self, Door};
use crate::reload::write_whole;

/// The files. They are this process's only while they hold what it wrote.
#[derive(Clone, Debug)]
pub(super) struct Signs {
    pid_file: PathBuf,
    door_file: PathBuf,
    door: Door,
}

impl Signs {
    pub(super) fn new(state_dir: &Path, door: Door) -> Self {
        Self { pid_file: state_dir.join(PID), door_file: state_dir.join(pass::FILE), door }
    }

    pub(super) fn put_up(&self) {
        if let Err(error) = write_whole(&self.pid_file, pid().as_bytes()) {
            tracing::warn!(%error, path = %self.pid_file.display(), "cannot write the process id: 'sidelock reload' will not work");
        }
        if let Err(error) = write_whole(&self.door_file, self.door.text().expose()) {
            tracing::warn!(%error, path = %self.door_file.display(), "cannot write how to ask: 'sidelock bans', 'addresses' and 'upgrade' will not work");
        }
    }

    /// Removes them, unless another process has put up its own, or the folder is gone.
    pub(super) fn take_down(&self) {
        if std::fs::read(&self.pid_file).is_ok_and(|text| text == pid().as_bytes()) {
            drop(std::fs::remove_file(&self.pid_file));
            drop(std::fs::remove_file(&self.door_file));
        }
    }
}

fn pid() -> String {
    std::process::id().to_string()
}
