//! A file that must not be there yet, and goes again if what it is for does not succeed.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file that was just made. Dropped, it is gone.
pub(super) struct NewFile {
    path: PathBuf,
    keep: bool,
}

impl NewFile {
    /// Makes it with this mode, whole.
    ///
    /// # Errors
    /// It exists already, or cannot be written.
    pub(super) fn create(path: &Path, mode: u32, text: &[u8]) -> std::io::Result<Self> {
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
        let made = Self { path: path.to_owned(), keep: false };
        file.write_all(text).and_then(|()| file.sync_all())?;
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file stays; where it is.
    pub(super) fn kept(mut self) -> PathBuf {
        self.keep = true;
        self.path.clone()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.keep {
            drop(std::fs::remove_file(&self.path));
        }
    }
}
