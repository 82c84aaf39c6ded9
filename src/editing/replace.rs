//! A file's content replaced as a whole: beside it, on the disk, then in its place. At every moment there is either the
//! old file or the new one.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use super::lock::beside;

/// New content, on the disk and not yet in place; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Prepared {
    temporary: PathBuf,
    target: PathBuf,
}

/// Writes `text` beside `target`, with its mode and owner. The caller holds the lock, so what an interrupted command left
/// there is nobody's.
pub(super) fn prepare(target: &Path, text: &str) -> std::io::Result<Prepared> {
    let prepared = Prepared { temporary: beside(target, "new"), target: target.to_owned() };
    let like = std::fs::metadata(target)?;
    drop(std::fs::remove_file(&prepared.temporary));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&prepared.temporary)?;
    file.write_all(text.as_bytes())?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid())).map_err(|error| {
            let owner = format!("{}:{}", like.uid(), like.gid());
            std::io::Error::new(error.kind(), format!("its owner {owner} cannot be kept: {error}"))
        })?;
    }
    file.set_permissions(Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()?;
    Ok(prepared)
}

impl Prepared {
    /// Puts the content in place, for good once this returns.
    pub(super) fn commit(self) -> std::io::Result<()> {
        std::fs::rename(&self.temporary, &self.target)?;
        self.target.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        // After a commit there is nothing left to remove.
        drop(std::fs::remove_file(&self.temporary));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_stays_and_nothing_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("keys.toml");
        std::fs::write(&target, "old").unwrap();
        std::fs::set_permissions(&target, Permissions::from_mode(0o640)).unwrap();
        drop(prepare(&target, "never").unwrap());
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "old");
        prepare(&target, "new").unwrap().commit().unwrap();
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
