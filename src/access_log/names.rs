//! Names of the log's files: `access.ndjson` is written, `access-20261122T100000Z.ndjson` was rotated at that moment.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::clock::WallTime;

/// Length of `20261122T100000Z`.
const STAMP: usize = 16;

/// How the files of one log are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    folder: PathBuf,
    stem: String,
    /// With its dot; empty without one.
    extension: String,
}

/// The moment of a rotation, and the number of the file among those of that second, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rotated {
    /// No line was written into the file after it.
    pub at: WallTime,
    /// Usually 1.
    pub count: u32,
}

impl Names {
    /// Of the log that is written to `path`.
    pub fn of(path: &Path) -> Self {
        let text = |part: Option<&OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = path.extension().map(|it| format!(".{}", it.to_string_lossy())).unwrap_or_default();
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self {
            folder: folder.unwrap_or_else(|| Path::new(".")).to_owned(),
            stem: text(path.file_stem()),
            extension,
        }
    }

    /// Where all of them are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a rotated file goes.
    pub fn path(&self, rotated: Rotated) -> PathBuf {
        let stamp: String = rotated.at.rfc3339().chars().filter(|it| !matches!(it, '-' | ':')).collect();
        let count = if rotated.count > 1 { format!("-{}", rotated.count) } else { String::new() };
        self.folder.join(format!("{}-{stamp}{count}{}", self.stem, self.extension))
    }

    /// What a file's name says, if it is one of these names, spelled as [`Self::path`] spells it.
    pub fn rotated(&self, name: &OsStr) -> Option<Rotated> {
        let text = name.to_str()?;
        let middle = text.strip_prefix(&self.stem)?.strip_prefix('-')?.strip_suffix(&self.extension)?;
        let (stamp, count) = middle.split_at_checked(STAMP)?;
        let stamp: jiff::Timestamp = stamp.parse().ok()?;
        let at = WallTime::from_unix_secs(stamp.as_second());
        let count = if count.is_empty() { 1 } else { count.strip_prefix('-')?.parse().ok()? };
        let rotated = Rotated { at, count };
        (self.path(rotated).file_name() == Some(name)).then_some(rotated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_names_are_read() {
        let at = WallTime::from_unix_secs(1_795_341_600);
        for log in ["/var/log/access.ndjson", "access", "a.b.ndjson"] {
            let names = Names::of(Path::new(log));
            for count in [1, 2, 17] {
                let path = names.path(Rotated { at, count });
                assert_eq!(names.rotated(path.file_name().unwrap()), Some(Rotated { at, count }), "{path:?}");
            }
        }
        let names = Names::of(Path::new("state/access.ndjson"));
        assert_eq!(names.path(Rotated { at, count: 2 }), Path::new("state/access-20261122T100000Z-2.ndjson"));
        for other in [
            "access.ndjson",
            "access-20261122T100000Z.ndjson.gz",
            "access-20261122T100000Z-1.ndjson",
            "access-20261122T100000Z-02.ndjson",
            "access-20261322T100000Z.ndjson",
            "access-2026112T1000000Z.ndjson",
            "access-20261122T100000Z-2",
            "access-é0261122T100000Z.ndjson",
            "xaccess-20261122T100000Z.ndjson",
            "",
        ] {
            assert_eq!(names.rotated(OsStr::new(other)), None, "{other}");
        }
    }
}
