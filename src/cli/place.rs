//! The access log of a configuration, and what the key file says about the keys in it.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use super::keys::{find_key, is_secret};
use super::{Failure, say, show, tally};
use crate::access_log::Destination;
use crate::config::environment::Environment;
use crate::config::load::{Loaded, load};
use crate::config::{self, Config, read_file};
use crate::keys::key::{Key, KeyId};
use crate::records::reading::{Found, Query, Tally, read, read_stream};

/// Where to read, and who is who.
pub(super) struct Place {
    pub(super) config: Config,
    /// As the file has them; none if it has mistakes.
    pub(super) keys: Vec<Key>,
    by_id: HashMap<String, usize>,
    source: Source,
}

enum Source {
    Files(PathBuf),
    Stdin,
}

impl Place {
    /// Reads the configuration, and the key file if it can be read: in an emergency it may have mistakes. `typed` is another
    /// log than the configured one, `-` for stdin.
    pub(super) fn find(path: &Path, typed: Option<&Path>) -> Result<Self, Failure> {
        let loading = load(path, &Environment::Unread);
        let (config, keys) = match loading.loaded {
            Some(Loaded { config, keys }) => (config, keys.keys),
            None => match read_file(path).ok().and_then(|it| config::parse(&it, &Environment::Unread).config)
            {
                Some(config) => {
                    say(
                        "the key file has mistakes ('sidelock check' shows them): what it says of keys is not used",
                    );
                    (config, Vec::new())
                }
                None => {
                    show(&loading);
                    return Err(Failure::Mistakes(tally(&loading)));
                }
            },
        };
        let source = match (typed, &config.access_log.0.destination) {
            (Some(typed), _) if typed == Path::new("-") => Source::Stdin,
            (Some(typed), _) => Source::Files(typed.to_owned()),
            (None, Destination::File(path)) => Source::Files(path.clone()),
            (None, Destination::Stdout) => {
                let what =
                    "the access log goes to standard output: give its lines with --file, '-' for stdin";
                return Err(Failure::Failed(what.to_owned()));
            }
            (None, Destination::Off) => {
                return Err(Failure::Failed("the access log is off: nothing was recorded".to_owned()));
            }
        };
        let by_id = keys.iter().enumerate().map(|(at, key)| (key.id.as_str().to_owned(), at)).collect();
        Ok(Self { config, keys, by_id, source })
    }

    /// The key with this id, if the file still has it.
    pub(super) fn key(&self, id: &str) -> Option<&Key> {
        self.keys.get(*self.by_id.get(id)?)
    }

    /// The id of the key that is meant, by id or by title. What nobody has may be the id of a key that is gone.
    ///
    /// # Errors
    /// A title that several keys have, or one that none has: the log cannot know it, and finding nothing would tell that the key
    /// was not used.
    pub(super) fn id_of(&self, named: &str) -> Result<String, Failure> {
        let is_title = self.keys.iter().any(|key| key.title.as_str() == named);
        match find_key(&self.keys, named) {
            Ok((_, key)) => Ok(key.id.as_str().to_owned()),
            Err(unknown) if !is_title && !is_secret(named) && KeyId::new(named).is_some() => {
                say(&format!("{unknown} (looked for as the id of one that is gone)"));
                Ok(named.to_owned())
            }
            Err(unclear) => Err(unclear),
        }
    }

    /// The log's file; `None` for stdin.
    pub(super) fn log(&self) -> Option<&Path> {
        match &self.source {
            Source::Files(path) => Some(path),
            Source::Stdin => None,
        }
    }

    /// Reads what fits, and says what could not be read.
    pub(super) fn read(
        &self,
        query: &Query,
        each: &mut dyn FnMut(Found<'_>) -> ControlFlow<()>,
    ) -> Result<Tally, Failure> {
        let done = match &self.source {
            Source::Files(path) => {
                read(path, query, each).map_err(|error| (path.display().to_string(), error))
            }
            Source::Stdin => read_stream(&mut std::io::stdin().lock(), query, each)
                .map_err(|error| ("stdin".to_owned(), error)),
        };
        let tally = done.map_err(|(what, error)| {
            Failure::Failed(format!("the access log {what} cannot be read: {error}"))
        })?;
        told(&tally);
        Ok(tally)
    }
}

fn told(tally: &Tally) {
    let compressed = u64::try_from(tally.compressed).unwrap_or(u64::MAX);
    for (count, one, many, then) in [
        (tally.broken, "line is", "lines are", "torn, or not the access log's; passed over"),
        (tally.overlong, "line is", "lines are", "too long to be the access log's; passed over"),
        (compressed, "rotated file is", "rotated files are", "compressed; not read"),
    ] {
        match count {
            0 => {}
            1 => say(&format!("1 {one} {then}")),
            _ => say(&format!("{count} {many} {then}")),
        }
    }
    for what in &tally.unreadable {
        say(&format!("not read to its end: {what}"));
    }
}
