//! Appends to the record. One writer at a time: whoever holds the lock of the key file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use serde_json::json;

use super::line::{Change, Origin, START, hash};
use super::{FILE, HEAD};

/// Why a change could not be recorded.
#[derive(Debug, thiserror::Error)]
#[error("the change record {} cannot be written: {error}", .path.display())]
pub struct RecordError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub error: std::io::Error,
}

/// What the head file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Lines of the record.
    pub(super) lines: u64,
    /// Its length in bytes.
    pub(super) bytes: u64,
    /// SHA-256 of the last line.
    pub(super) last: String,
}

/// Appends one line per change, all or none, and sees them on the disk. `owner` is whom a new folder or file is given to:
/// a command that root runs must not lock out the gateway's user.
///
/// # Errors
/// Nothing was recorded.
pub fn append(
    state_dir: &Path,
    origin: &Origin,
    changes: &[Change],
    owner: (u32, u32),
) -> Result<(), RecordError> {
    let path = state_dir.join(FILE);
    let done = folder(state_dir, owner).and_then(|()| append_to(&path, state_dir, origin, changes));
    done.map_err(|error| RecordError { path, error })
}

fn folder(state_dir: &Path, owner: (u32, u32)) -> std::io::Result<()> {
    if !state_dir.is_dir() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(state_dir)?;
        give(state_dir, owner);
    }
    Ok(())
}

/// Best effort: whoever is not root can only give to themselves.
fn give(path: &Path, (uid, gid): (u32, u32)) {
    drop(chown(path, Some(uid), Some(gid)));
}

fn append_to(path: &Path, state_dir: &Path, origin: &Origin, changes: &[Change]) -> std::io::Result<()> {
    let is_new = !path.exists();
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let folder = std::fs::metadata(state_dir)?;
    let owner = (folder.uid(), folder.gid());
    if is_new {
        give(path, owner);
    }
    let head_path = state_dir.join(HEAD);
    let (before, head_lost) = place(&mut file, read_head(&head_path)?)?;
    let (text, after) = lines(origin, changes, &before, head_lost);
    let end = file.seek(SeekFrom::End(0))?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| write_head(&head_path, &Head { bytes: end + after.bytes, ..after }, owner));
    if written.is_err() {
        // A line of a change that is refused must not stay; if this fails too, its torn end is cut off next time.
        drop(file.set_len(end));
    }
    written
}

/// The text to append, and the head after it, whose `bytes` are those of the text alone.
fn lines(origin: &Origin, changes: &[Change], before: &Head, mut head_lost: bool) -> (String, Head) {
    let mut text = String::new();
    let (mut number, mut last) = (before.lines, before.last.clone());
    for change in changes {
        number += 1;
        let line = origin.line(number, change, &last, std::mem::take(&mut head_lost));
        last = hash(line.as_bytes());
        text.push_str(&line);
        text.push('\n');
    }
    let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
    (text, Head { lines: number, bytes, last })
}

/// After which line to go on, and whether the head file that should have told is lost. What a crash left behind is put
/// right; what someone took away stays visible, for the new line continues the chain that was.
fn place(file: &mut File, head: Option<Head>) -> std::io::Result<(Head, bool)> {
    let length = file.metadata()?.len();
    let start = head.as_ref().map_or(0, |head| head.bytes.min(length));
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.read_to_end(&mut rest)?;
    let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    if whole < rest.len() {
        file.set_len(start + u64::try_from(whole).unwrap_or_default())?;
    }
    let complete = rest.get(..whole).unwrap_or_default();
    let count = complete.iter().filter(|byte| **byte == b'\n').count();
    let lines = complete.strip_suffix(b"\n").and_then(|lines| lines.split(|byte| *byte == b'\n').next_back());
    let lost = head.is_none() && count > 0;
    let mut place = head.unwrap_or_else(|| Head { lines: 0, bytes: 0, last: START.to_owned() });
    place.lines += u64::try_from(count).unwrap_or_default();
    if let Some(last) = lines {
        place.last = hash(last);
    }
    Ok((place, lost))
}

/// The head file; `None` if there is none, or if it is not one.
pub(super) fn read_head(path: &Path) -> std::io::Result<Option<Head>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let parsed: Option<serde_json::Value> = serde_json::from_str(&text).ok();
    Ok(parsed.and_then(|head| {
        Some(Head {
            lines: head.get("lines")?.as_u64()?,
            bytes: head.get("bytes")?.as_u64()?,
            last: head.get("last")?.as_str()?.to_owned(),
        })
    }))
}

fn write_head(path: &Path, head: &Head, owner: (u32, u32)) -> std::io::Result<()> {
    let temporary = path.with_extension("head.new");
    let text = json!({ "lines": head.lines, "bytes": head.bytes, "last": head.last }).to_string();
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    give(&temporary, owner);
    std::fs::rename(&temporary, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
