//! The files of one log, in the order of time: the rotated ones, then the one that is written.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::access_log::names::Names;
use crate::clock::WallTime;

/// What there is of a log at one moment.
#[derive(Debug)]
pub struct Files {
    /// Oldest first.
    pub rotated: Vec<Older>,
    /// The file that is written. It is open, so that a rotation in the meantime does not matter.
    pub current: Option<File>,
    /// Rotated files that somebody compressed; they are not read.
    pub compressed: Vec<PathBuf>,
}

/// A file that is written no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Older {
    /// No line was written into it after this: the moment in its name, or of its last change.
    pub ended: WallTime,
    /// Its name, which it keeps.
    pub path: PathBuf,
}

impl Files {
    /// Looks at the folder.
    ///
    /// # Errors
    /// The folder or the current file cannot be read. That there is no file at all is an error too.
    pub fn of(log: &Path) -> std::io::Result<Self> {
        // Siblings stand beside the file itself, not beside a symbolic link to it.
        let real = log.canonicalize();
        let log = real.as_deref().unwrap_or(log);
        // First the current file, then the names: what is rotated between the two is found by its name or is open already.
        let current = match File::open(log) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let open = current.as_ref().map(File::metadata).transpose()?.map(|it| identity(&it));
        let names = Names::of(log);
        let own = log.file_name().unwrap_or_default();
        let (mut found, mut compressed) = (Vec::new(), Vec::new());
        for entry in std::fs::read_dir(names.folder())? {
            let entry = entry?;
            let name = entry.file_name();
            match sibling(&names, own, &name) {
                None => {}
                Some(Sibling::Compressed) => compressed.push(entry.path()),
                Some(Sibling::Rotated(said)) => {
                    // What went away in the meantime, for retention, is no loss that a reader could help.
                    let Ok(metadata) = entry.metadata() else { continue };
                    if metadata.is_file() && Some(identity(&metadata)) != open {
                        found.push((said.unwrap_or_else(|| (changed(&metadata), 0)), entry.path()));
                    }
                }
            }
        }
        found.sort();
        compressed.sort();
        if found.is_empty() && current.is_none() {
            return Err(std::io::ErrorKind::NotFound.into());
        }
        let rotated = found.into_iter().map(|((ended, _), path)| Older { ended, path }).collect();
        Ok(Self { rotated, current, compressed })
    }
}

/// Device and number: what a file keeps when it is renamed.
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn changed(metadata: &Metadata) -> WallTime {
    metadata.modified().map_or(WallTime::MAX, WallTime::from)
}

enum Sibling {
    /// With what its name says about its end, if it is one of Sidelock's own names.
    Rotated(Option<(WallTime, u32)>),
    Compressed,
}

/// Sidelock's own names, and those that logrotate gives: `access.ndjson.1`, `access.ndjson-20261122`.
fn sibling(names: &Names, own: &OsStr, name: &OsStr) -> Option<Sibling> {
    if let Some(rotated) = names.rotated(name) {
        return Some(Sibling::Rotated(Some((rotated.at, rotated.count))));
    }
    let (own, name) = (own.to_str()?, name.to_str()?);
    let packed = [".gz", ".zst", ".xz", ".bz2"].iter().find_map(|end| name.strip_suffix(end));
    let plain = packed.unwrap_or(name);
    let foreign = plain.strip_prefix(own).and_then(|rest| rest.strip_prefix(['.', '-']));
    let digits = |rest: &str| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_digit() || it == b'-');
    match (packed, foreign) {
        (None, Some(rest)) if digits(rest) => Some(Sibling::Rotated(None)),
        (Some(_), Some(rest)) if digits(rest) => Some(Sibling::Compressed),
        (Some(_), _) if names.rotated(OsStr::new(plain)).is_some() => Some(Sibling::Compressed),
        (Some(_) | None, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_come_in_the_order_of_time_and_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in [
            "access.ndjson",
            "access-20261122T100000Z-2.ndjson",
            "access-20261122T100000Z.ndjson",
            "access-20261121T100000Z.ndjson",
            "access-20261120T100000Z.ndjson.gz",
            "access.ndjson.3.gz",
            "access.ndjson.old",
            "changes.ndjson",
        ] {
            std::fs::write(path(name), "").unwrap();
        }
        std::fs::write(path("access.ndjson.1"), "").unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        File::options().append(true).open(path("access.ndjson.1")).unwrap().set_modified(long_ago).unwrap();
        std::fs::create_dir(path("access-20261119T100000Z.ndjson")).unwrap();
        let files = Files::of(&path("access.ndjson")).unwrap();
        let names: Vec<_> =
            files.rotated.iter().map(|it| it.path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(
            names,
            [
                "access.ndjson.1",
                "access-20261121T100000Z.ndjson",
                "access-20261122T100000Z.ndjson",
                "access-20261122T100000Z-2.ndjson"
            ]
        );
        assert!(files.current.is_some());
        assert_eq!(files.compressed, [path("access-20261120T100000Z.ndjson.gz"), path("access.ndjson.3.gz")]);
        // A hard link to the open file is the same file, as it is between the two steps of a rotation.
        std::fs::hard_link(path("access.ndjson"), path("access-20261123T100000Z.ndjson")).unwrap();
        assert_eq!(Files::of(&path("access.ndjson")).unwrap().rotated.len(), 4);
        assert!(Files::of(&path("none.ndjson")).is_err());
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("log");
        std::os::unix::fs::symlink(path("access.ndjson"), &link).unwrap();
        assert_eq!(Files::of(&link).unwrap().rotated.len(), 4);
    }
}
