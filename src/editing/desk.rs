//! A key file on the desk: read, locked, to be changed once.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::blocks::{Blocks, Edit};
use super::lock::{Lock, LockError};
use super::replace::prepare;
use super::{EditError, Field, NewKey, fragment};
use crate::changes::line::{Change, FieldChange, Origin, hash};
use crate::changes::record::{self, RecordError};
use crate::changes::who::Who;
use crate::clock::WallTime;
use crate::config::environment::Environment;
use crate::config::key_file;
use crate::config::load::{Loaded, Loading, load};
use crate::config::source::Source;
use crate::keys::key::Key;

/// How long another command may take: 10 s.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the desk is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Reading alone: no lock.
    Look,
    /// A change.
    Change,
    /// A change that may be the first: a key file that is not there yet is made, empty, for its owner alone.
    Beginning,
}

/// A key file that was read, with its configuration.
#[derive(Debug)]
pub struct Desk {
    /// What was read.
    pub loaded: Loaded,
    source: Source,
    /// The file itself, behind all symbolic links.
    target: PathBuf,
    hold: Hold,
}

#[derive(Debug)]
enum Hold {
    Locked(#[expect(dead_code, reason = "held until the desk is cleared")] Lock),
    ReadOnly(String),
    Looking,
}

/// Why the file is not on the desk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The configuration or the key file has mistakes.
    #[error("the files have mistakes")]
    Mistakes(Box<Loading>),
    /// `[keys] file` is not set.
    #[error("the configuration names no [keys] file")]
    NoKeyFile,
    /// The lock is with someone else, or cannot be had at all.
    #[error("{0}")]
    Lock(String),
}

/// Changes to be made together.
#[derive(Clone, Debug, Default)]
pub struct Work {
    edits: BTreeMap<usize, Edit>,
    added: Vec<NewKey>,
}

impl Work {
    /// Sets fields of the key at this position.
    #[must_use]
    pub fn set(mut self, at: usize, fields: Vec<Field>) -> Self {
        self.edits.insert(at, Edit::Set(fields));
        self
    }

    /// Removes the key at this position.
    #[must_use]
    pub fn remove(mut self, at: usize) -> Self {
        self.edits.insert(at, Edit::Remove);
        self
    }

    /// Adds a key at the end.
    #[must_use]
    pub fn with_new(mut self, key: NewKey) -> Self {
        self.added.push(key);
        self
    }
}

/// The result of [`Work`], judged and not yet written.
#[derive(Debug)]
pub struct Draft {
    text: String,
    changes: Vec<Change>,
    /// The blocks as they would be; the whole text if one goes.
    pub toml: String,
}

/// Who does what.
#[derive(Clone, Debug)]
pub struct Deed {
    /// The verb, as in `rotate`.
    pub verb: &'static str,
    /// When.
    pub when: WallTime,
    /// Who.
    pub who: Who,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The file is not to be written.
    #[error("the key file cannot be written here: {0}")]
    ReadOnly(String),
    /// Someone else saved it.
    #[error("the key file was changed by something else since it was read; nothing was written, try again")]
    Changed,
    /// The result would be kept out.
    #[error("the result would have mistakes, so it was not written: {0}")]
    Mistakes(String),
    /// The text does not lend itself to it.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// No change without its line.
    #[error("{0}; the key file was not touched")]
    Record(#[from] RecordError),
    /// The disk.
    #[error("the key file could not be written and is as it was: {0}")]
    Write(std::io::Error),
}

/// Where it cannot be made, reading it tells why.
fn begin(path: &Path) {
    drop(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path));
}

impl Desk {
    /// Reads the configuration and the key file; for a change it takes the lock first.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &Path, environment: &Environment, purpose: Purpose) -> Result<Self, OpenError> {
        let mut loading = load(config, environment);
        let path = loading.key_path.clone();
        let mut hold = Hold::Looking;
        let mut target = PathBuf::new();
        if let Some(path) = &path {
            if purpose == Purpose::Beginning {
                begin(path);
            }
            target = path.canonicalize().unwrap_or_else(|_| path.clone());
            if purpose != Purpose::Look {
                hold = Hold::on(&target)?;
                // What was read before the lock was had may be out of date.
                loading = load(config, environment);
            }
        }
        let source = loading.sources.iter().position(|source| Some(&source.path) == path.as_ref());
        match (loading.loaded.take(), path, source) {
            (Some(loaded), Some(_), Some(at)) => {
                Ok(Self { loaded, source: loading.sources.swap_remove(at), target, hold })
            }
            (Some(_), _, _) => Err(OpenError::NoKeyFile),
            (None, _, _) => Err(OpenError::Mistakes(Box::new(loading))),
        }
    }

    /// The keys, in the order of the file.
    pub fn keys(&self) -> &[Key] {
        &self.loaded.keys.keys
    }

    /// A field's text in the block at this position, for showing.
    ///
    /// # Errors
    /// The block cannot be read on its own.
    pub fn fields(&self, at: usize) -> Result<Vec<(String, String)>, EditError> {
        fragment::fields(Blocks::find(&self.source.text)?.text(at))
    }

    /// Makes the new text, and judges it as `check` would.
    ///
    /// # Errors
    /// [`ApplyError::Edit`] and [`ApplyError::Mistakes`].
    pub fn draft(&self, work: &Work) -> Result<Draft, ApplyError> {
        let blocks = Blocks::find(&self.source.text)?;
        let added: Vec<String> = work.added.iter().map(NewKey::block).collect();
        let text = blocks.rewrite(&work.edits, &added)?;
        let source = Source { path: self.source.path.clone(), text };
        let (_, _, report) = key_file::parse(&source, &self.loaded.config.names());
        if report.has_errors() {
            return Err(ApplyError::Mistakes(report.summary(std::slice::from_ref(&source))));
        }
        let mut changes = Vec::new();
        let mut shown = String::new();
        for (at, edit) in &work.edits {
            let old = blocks.text(*at);
            let new = match edit {
                Edit::Set(fields) => Some(fragment::edit(old, fields)?),
                Edit::Remove => None,
            };
            let id = self.keys().get(*at).map(|key| key.id.as_str()).unwrap_or_default();
            changes.extend(change(id, Some(old), new.as_deref())?);
            shown.push_str(&new.unwrap_or_default());
        }
        for (key, block) in work.added.iter().zip(&added) {
            changes.extend(change(&key.id, None, Some(block))?);
        }
        let removes = work.edits.values().any(|edit| *edit == Edit::Remove);
        let toml = if removes { source.text.clone() } else { shown + &added.concat() };
        Ok(Draft { text: source.text, changes, toml })
    }

    /// Records the change and writes it.
    ///
    /// # Errors
    /// [`ApplyError`]; the key file is as it was.
    pub fn apply(&self, draft: &Draft, deed: &Deed) -> Result<(), ApplyError> {
        match &self.hold {
            Hold::Locked(_) => {}
            Hold::ReadOnly(why) => return Err(ApplyError::ReadOnly(why.clone())),
            Hold::Looking => return Err(ApplyError::ReadOnly("it was opened for reading".to_owned())),
        }
        if draft.changes.is_empty() {
            return Ok(());
        }
        let prepared = prepare(&self.target, &draft.text).map_err(not_replaced)?;
        self.is_unchanged()?;
        let origin = self.origin(draft, deed);
        let owner = std::fs::metadata(&self.target).map_err(ApplyError::Write)?;
        let owner = (owner.uid(), owner.gid());
        let state_dir = &self.loaded.config.server.state_dir;
        record::append(state_dir, &origin, &draft.changes, owner)?;
        let done = self.is_unchanged().and_then(|()| prepared.commit().map_err(not_replaced));
        if done.is_err() {
            // The line stands; the next one takes it back. If that fails as well, `file_after` shows that it never was.
            let undone = Origin { verb: "undone", after: origin.before.clone(), ..origin };
            let keys = draft.changes.iter().map(|it| Change { key: it.key.clone(), fields: Vec::new() });
            drop(record::append(state_dir, &undone, &keys.collect::<Vec<_>>(), owner));
        }
        done
    }

    /// SHA-256 of what the file would hold, by which a mass removal is confirmed.
    pub fn digest_after(draft: &Draft) -> String {
        hash(draft.text.as_bytes())
    }

    fn is_unchanged(&self) -> Result<(), ApplyError> {
        // By the name in the configuration: a link may point elsewhere by now.
        let same_file = self.source.path.canonicalize().is_ok_and(|now| now == self.target);
        let now = std::fs::read(&self.target).map_err(ApplyError::Write)?;
        if same_file && now == self.source.text.as_bytes() { Ok(()) } else { Err(ApplyError::Changed) }
    }

    fn origin(&self, draft: &Draft, deed: &Deed) -> Origin {
        Origin {
            when: deed.when,
            who: deed.who.clone(),
            verb: deed.verb,
            command: format!("sidelock keys {}", deed.verb),
            file: self.source.path.clone(),
            before: hash(self.source.text.as_bytes()),
            after: hash(draft.text.as_bytes()),
        }
    }
}

/// What the system does not allow here is for someone else to apply; anything else is trouble. A file that is mounted on
/// its own can be written but not replaced.
fn not_replaced(error: std::io::Error) -> ApplyError {
    use std::io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
    if matches!(error.kind(), ResourceBusy | CrossesDevices) {
        ApplyError::ReadOnly(format!("it is mounted on its own and cannot be replaced ({error})"))
    } else if matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) {
        ApplyError::ReadOnly(error.to_string())
    } else {
        ApplyError::Write(error)
    }
}

impl Hold {
    /// The lock of a file that may be written. A mode without a `w` counts for root too: someone meant it.
    fn on(target: &Path) -> Result<Self, OpenError> {
        let folder = target.parent().unwrap_or_else(|| Path::new("."));
        for (path, what) in [(folder, "its folder"), (target, "the file")] {
            // A file that is not there is told about by the reading that follows.
            if std::fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o222 == 0) {
                return Ok(Self::ReadOnly(format!("{what} is read-only ({})", path.display())));
            }
        }
        match Lock::take(target, PATIENCE) {
            Ok(lock) => Ok(Self::Locked(lock)),
            Err(LockError::ReadOnly(error)) => {
                Ok(Self::ReadOnly(format!("{} cannot be written: {error}", folder.display())))
            }
            Err(error @ (LockError::Busy(..) | LockError::Failed(..))) => {
                Err(OpenError::Lock(error.to_string()))
            }
        }
    }
}

/// What differs between two versions of a block; `None` if nothing does.
fn change(id: &str, old: Option<&str>, new: Option<&str>) -> Result<Option<Change>, EditError> {
    let read = |block: Option<&str>| block.map_or_else(|| Ok(Vec::new()), fragment::fields);
    let (old, new) = (read(old)?, read(new)?);
    let find = |fields: &[(String, String)], name: &str| {
        fields.iter().find(|(it, _)| it == name).map(|(_, text)| text.clone())
    };
    let mut names: Vec<&str> = old.iter().map(|(name, _)| name.as_str()).collect();
    names.extend(new.iter().map(|(name, _)| name.as_str()).filter(|name| find(&old, name).is_none()));
    let fields: Vec<FieldChange> = names
        .into_iter()
        .map(|name| FieldChange { name: name.to_owned(), from: find(&old, name), to: find(&new, name) })
        .filter(|field| field.from != field.to)
        .collect();
    Ok((!fields.is_empty()).then(|| Change { key: id.to_owned(), fields }))
}
