//! The file behind the log: appended to, rotated, and removed when its time is over.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::names::{Names, Rotated};
use super::{Destination, Rotation};
use crate::clock::WallTime;

/// Most files of one second.
const MOST_OF_A_SECOND: u32 = 1_000;
/// After a rotation that did not work, the next attempt.
const RETRY: Duration = Duration::from_secs(60);

/// Where the writer's bytes go.
pub(super) enum Sink {
    Stdout,
    File(LogFile),
}

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    names: Names,
    rotation: Rotation,
    file: File,
    size: u64,
    /// The last line in it, or its opening.
    last: WallTime,
    /// True if the last line may lack its end.
    torn: bool,
    /// No rotation before this, for one went wrong.
    not_before: Option<WallTime>,
}

impl Sink {
    /// Opens the destination; `None` for none.
    pub(super) fn open(
        destination: &Destination,
        rotation: Rotation,
        now: WallTime,
    ) -> std::io::Result<Option<Self>> {
        Ok(match destination {
            Destination::Off => None,
            Destination::Stdout => Some(Self::Stdout),
            Destination::File(path) => Some(Self::File(LogFile::open(path, rotation, now)?)),
        })
    }

    /// Writes whole lines, or none at all to look after the files.
    pub(super) fn write(&mut self, lines: &[u8], now: WallTime) -> std::io::Result<()> {
        match self {
            Self::Stdout => {
                let mut out = std::io::stdout().lock();
                out.write_all(lines).and_then(|()| out.flush())
            }
            Self::File(file) => file.write(lines, now),
        }
    }

    /// Opens the file by its name again.
    pub(super) fn reopen(&mut self, now: WallTime) {
        if let Self::File(file) = self {
            file.reopen(now);
        }
    }
}

impl LogFile {
    pub(super) fn open(path: &Path, rotation: Rotation, now: WallTime) -> std::io::Result<Self> {
        let (file, size, torn) = append(path)
            .map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        // Siblings stand beside the file itself, not beside a symbolic link to it.
        let path = path.canonicalize()?;
        let last = file.metadata()?.modified().map_or(now, WallTime::from);
        let last = if size == 0 { now } else { last };
        let names = Names::of(&path);
        let mut log = Self { path, names, rotation, file, size, last, torn, not_before: None };
        log.tend(0, now);
        log.retain(now);
        Ok(log)
    }

    /// Appends, in a new file if the present one is full or its time over.
    pub(super) fn write(&mut self, lines: &[u8], now: WallTime) -> std::io::Result<()> {
        let more = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.tend(more, now);
        if lines.is_empty() {
            return Ok(());
        }
        if self.torn {
            self.file.write_all(b"\n")?;
        }
        // If this breaks off, nobody knows how much of it is there.
        self.torn = true;
        self.file.write_all(lines)?;
        self.torn = false;
        self.size = self.size.saturating_add(more);
        self.last = now;
        Ok(())
    }

    pub(super) fn reopen(&mut self, now: WallTime) {
        match append(&self.path) {
            Ok((file, size, torn)) => {
                (self.file, self.size, self.torn, self.not_before) = (file, size, torn, None);
                self.last = now;
            }
            Err(error) => {
                tracing::error!(%error, "the access log cannot be opened again; the open file stays in use")
            }
        }
    }

    /// Rotates if it is time to, and removes what is too old.
    fn tend(&mut self, more: u64, now: WallTime) {
        if !self.is_due(more, now) || self.not_before.is_some_and(|moment| now < moment) {
            if more == 0 {
                self.retain(now);
            }
            return;
        }
        // During an upgrade two processes write the same file: whoever comes second finds it renamed. Where files cannot be locked, a
        // file may be rotated twice.
        drop(self.file.lock());
        let rotated = self.rotate(now);
        // The new file has no lock; the old one keeps none if it stays.
        drop(self.file.unlock());
        match rotated {
            Ok(()) => self.not_before = None,
            Err(error) => {
                self.not_before = Some(now.after(RETRY));
                tracing::error!(%error, "the access log cannot be rotated; lines go on into the present file");
            }
        }
        self.retain(now);
    }

    fn is_due(&self, more: u64, now: WallTime) -> bool {
        let period = |moment: WallTime, every: Duration| {
            moment.unix_millis().div_euclid(i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1))
        };
        let Rotation { size, every, .. } = self.rotation;
        let is_full = size.is_some_and(|most| self.size.saturating_add(more) > most);
        // A clock that was set back ends nothing.
        let is_over = every.is_some_and(|every| period(now, every) > period(self.last, every));
        self.size > 0 && (is_full || is_over)
    }

    fn rotate(&mut self, now: WallTime) -> std::io::Result<()> {
        let own = self.file.metadata()?;
        if !own.is_file() {
            self.rotation.size = None;
            self.rotation.every = None;
            return Ok(());
        }
        let same = |other: &std::fs::Metadata| (other.dev(), other.ino()) == (own.dev(), own.ino());
        // Another program may have moved the file away: then there is nothing to rename, only one to open.
        if std::fs::metadata(&self.path).is_ok_and(|named| same(&named)) {
            let target = self.reserve(now)?;
            std::fs::rename(&self.path, &target).inspect_err(|_| drop(std::fs::remove_file(&target)))?;
        }
        (self.file, self.size, self.torn) = append(&self.path)?;
        self.last = now;
        Ok(())
    }

    /// A name that nobody has, taken by an empty file, so that nothing is ever overwritten.
    fn reserve(&self, now: WallTime) -> std::io::Result<PathBuf> {
        for count in 1..=MOST_OF_A_SECOND {
            let path = self.names.path(Rotated { at: now, count });
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(std::io::ErrorKind::AlreadyExists.into())
    }

    /// Removes rotated files, and only those: past their time, then the oldest of too many bytes.
    fn retain(&self, now: WallTime) {
        let Rotation { keep, keep_size, .. } = self.rotation;
        if keep.is_none() && keep_size.is_none() {
            return;
        }
        let mut files = self.rotated();
        files.sort_unstable_by_key(|(rotated, ..)| std::cmp::Reverse(*rotated));
        let mut total = self.size;
        let (mut removed, mut bytes) = (0_u64, 0_u64);
        for (rotated, path, size) in files {
            total = total.saturating_add(size);
            let is_old = keep.is_some_and(|keep| now.since(rotated.at) > keep);
            if !is_old && keep_size.is_none_or(|most| total <= most) {
                continue;
            }
            match std::fs::remove_file(&path) {
                Ok(()) => {
                    removed += 1;
                    bytes = bytes.saturating_add(size);
                }
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "an old access log cannot be removed");
                }
            }
        }
        if removed > 0 {
            tracing::info!(removed, bytes, "access logs past their retention were removed");
        }
    }

    fn rotated(&self) -> Vec<(Rotated, PathBuf, u64)> {
        let entries = std::fs::read_dir(self.names.folder()).into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let rotated = self.names.rotated(&entry.file_name())?;
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((rotated, entry.path(), metadata.len()))
        });
        found.collect()
    }
}

/// Opens for appending: the file, its size, and whether its last line lacks an end. Others cannot read it.
fn append(path: &Path) -> std::io::Result<(File, u64, bool)> {
    let file = OpenOptions::new().create(true).append(true).mode(0o640).open(path)?;
    let metadata = file.metadata()?;
    let size = if metadata.is_file() { metadata.len() } else { 0 };
    // A process that ended in the middle of a line must not spoil the next one too.
    let torn = size > 0 && last_byte(path).is_ok_and(|byte| byte != b'\n');
    Ok((file, size, torn))
}

fn last_byte(path: &Path) -> std::io::Result<u8> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-1))?;
    let mut byte = [0];
    file.read_exact(&mut byte)?;
    let [byte] = byte;
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    /// Noon of a day in 2026.
    fn noon() -> WallTime {
        WallTime::from_unix_secs(1_795_348_800)
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn open(folder: &Path, rotation: Rotation, now: WallTime) -> LogFile {
        LogFile::open(&folder.join("access.ndjson"), rotation, now).unwrap()
    }

    #[test]
    fn full_files_are_rotated_and_none_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path(), Rotation { size: Some(10), ..Rotation::default() }, noon());
        for line in ["12345678\n", "b\n", "c\n", "too long for any\n", "d\n"] {
            log.write(line.as_bytes(), noon()).unwrap();
        }
        let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(text("access-20261122T120000Z.ndjson"), "12345678\n");
        assert_eq!(text("access-20261122T120000Z-2.ndjson"), "b\nc\n");
        assert_eq!(text("access-20261122T120000Z-3.ndjson"), "too long for any\n");
        assert_eq!(text("access.ndjson"), "d\n");
        assert_eq!(names(folder.path()).len(), 4);
        let mode = std::fs::metadata(folder.path().join("access.ndjson")).unwrap().mode();
        assert_eq!(mode & 0o027, 0, "others cannot read it: {mode:o}");
    }

    #[test]
    fn files_end_with_their_time_also_across_a_restart_but_not_for_a_clock_set_back() {
        let folder = tempfile::tempdir().unwrap();
        let rotation = Rotation { every: Some(DAY), ..Rotation::default() };
        let mut log = open(folder.path(), rotation, noon());
        log.write(b"a\n", noon()).unwrap();
        log.write(b"b\n", noon().after(DAY / 3)).unwrap();
        log.write(b"c\n", noon().before(DAY)).unwrap();
        assert_eq!(names(folder.path()), ["access.ndjson"]);
        log.write(b"", noon().after(DAY)).unwrap();
        assert_eq!(names(folder.path()), ["access-20261123T120000Z.ndjson", "access.ndjson"]);
        log.write(b"", noon().after(DAY * 3)).unwrap();
        assert_eq!(names(folder.path()).len(), 2, "an empty file is not rotated");
        log.write(b"d\n", noon().after(DAY * 3)).unwrap();
        let written = std::time::UNIX_EPOCH + Duration::from_secs(1_795_348_800);
        log.file.set_modified(written).unwrap();
        drop(log);
        drop(open(folder.path(), rotation, noon().after(DAY / 3)));
        assert_eq!(names(folder.path()).len(), 2);
        drop(open(folder.path(), rotation, noon().after(DAY)));
        assert_eq!(names(folder.path()).len(), 3);
    }

    #[test]
    fn only_its_own_old_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(folder.path().join(name), "12345").unwrap();
        let old = ["access-20261022T115959Z.ndjson", "access-20261022T120000Z.ndjson"];
        let new = ["access-20261120T000000Z.ndjson", "access-20261121T000000Z.ndjson"];
        let others = ["access-20200101T000000Z.ndjson.gz", "access.ndjson.1", "changes.ndjson", "x"];
        old.iter().chain(&new).chain(&others).for_each(|name| write(name));
        let left = |rotation| {
            let mut log = open(folder.path(), rotation, noon());
            log.write(b"", noon()).unwrap();
            names(folder.path())
                .into_iter()
                .filter(|name| !others.contains(&name.as_str()))
                .collect::<Vec<_>>()
        };
        assert_eq!(left(Rotation::default()).len(), 5);
        let age = Rotation { keep: Some(31 * DAY), ..Rotation::default() };
        assert_eq!(left(age), [old[1], new[0], new[1], "access.ndjson"]);
        let bytes = Rotation { keep_size: Some(9), ..Rotation::default() };
        assert_eq!(left(bytes), [new[1], "access.ndjson"]);
        assert_eq!(names(folder.path()).len(), 2 + others.len());
    }

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew_and_a_torn_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.ndjson");
        std::fs::write(&path, "whole\nto").unwrap();
        let mut log = open(folder.path(), Rotation::default(), noon());
        log.write(b"a\n", noon()).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole\nto\na\n");
        let moved = folder.path().join("access.ndjson.1");
        std::fs::rename(&path, &moved).unwrap();
        log.write(b"b\n", noon()).unwrap();
        log.reopen(noon());
        log.write(b"c\n", noon()).unwrap();
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), "whole\nto\na\nb\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "c\n");
    }

    #[test]
    fn where_no_file_can_be_made_lines_go_on_into_the_open_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = open(folder.path(), Rotation { size: Some(4), ..Rotation::default() }, noon());
        log.write(b"one\n", noon()).unwrap();
        std::fs::remove_dir_all(folder.path()).unwrap();
        log.write(b"two\n", noon()).unwrap();
        assert_eq!(log.file.metadata().unwrap().len(), 8);
        assert_eq!(log.not_before, Some(noon().after(RETRY)));
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none/access.ndjson");
        let error = LogFile::open(&path, Rotation::default(), noon()).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: No such file", path.display())), "{error}");
    }
}
