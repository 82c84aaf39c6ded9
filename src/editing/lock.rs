//! One command at a time: an advisory lock on a file beside the key file. Text editors do not know it; for them the
//! content is compared right before it is replaced.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The lock, until it is dropped. Its file stays: who removed it could remove it from under the next one.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    /// Another command has it.
    #[error("another command is editing this file ({} is still locked after {} s)", .0.display(), .1.as_secs())]
    Busy(PathBuf, Duration),
    /// The folder cannot be written: a mounted secret, perhaps.
    #[error("{0}")]
    ReadOnly(std::io::Error),
    /// The file system does not play along.
    #[error("the lock {} cannot be had: {}", .0.display(), .1)]
    Failed(PathBuf, std::io::Error),
}

impl Lock {
    /// Waits for the lock of `file` at most `patience`.
    pub(super) fn take(file: &Path, patience: Duration) -> Result<Self, LockError> {
        let path = beside(file, "lock");
        let is_new = !path.exists();
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let held = opened.map_err(|error| {
            if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) {
                LockError::ReadOnly(error)
            } else {
                LockError::Failed(path.clone(), error)
            }
        })?;
        if is_new && let Ok(owner) = std::fs::metadata(file) {
            // Whoever may edit the key file may lock it; if it cannot be given away, it is theirs already.
            drop(chown(&path, Some(owner.uid()), Some(owner.gid())));
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        // The system's call waits without an end: it does so in a thread of its own, which is left behind.
        std::thread::spawn(move || {
            let locked = held.lock().map(|()| held);
            drop(sender.send(locked));
        });
        match receiver.recv_timeout(patience) {
            Ok(Ok(held)) => Ok(Self { _held: held }),
            Ok(Err(error)) => Err(LockError::Failed(path, error)),
            Err(_) => Err(LockError::Busy(path, patience)),
        }
    }
}

/// `.keys.toml.lock` for `keys.toml`.
pub(super) fn beside(file: &Path, what: &str) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.{what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_not_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.toml");
        let short = Duration::from_millis(20);
        let held = Lock::take(&file, short).unwrap();
        assert!(matches!(Lock::take(&file, short), Err(LockError::Busy(..))));
        drop(held);
        Lock::take(&file, Duration::from_secs(5)).unwrap();
    }
}
