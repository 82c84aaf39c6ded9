//! The only time that a key is shown: framed for people, bare for a pipe, or in a file of its own.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::new_file::NewFile;
use super::super::{Failure, say};
use super::{Format, print, to_apply};
use crate::credential::api_key::PlainKey;
use crate::secret::Secret;

/// Where the key goes.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    /// Write the key into this new file, readable by you alone, instead of showing it
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// A key that is about to be handed over: in its file already, if it goes into one. Dropped, the file is gone.
pub(super) struct Handing<'k> {
    key: &'k PlainKey,
    file: Option<NewFile>,
}

impl Output {
    /// Writes the file before anything else is done: a key that is in force and that nobody has seen helps nobody.
    pub(super) fn prepare<'k>(&self, key: &'k PlainKey) -> Result<Handing<'k>, Failure> {
        let file = self.output.as_deref().map(|path| write(path, key)).transpose()?;
        Ok(Handing { key, file })
    }
}

fn write(path: &Path, key: &PlainKey) -> Result<NewFile, Failure> {
    let line = Secret::new(format!("{}\n", key.expose()));
    NewFile::create(path, 0o600, line.expose())
        .map_err(|error| Failure::Failed(format!("{}: {error}; nothing was changed", path.display())))
}

impl Handing<'_> {
    /// The key is in force: hands it over. `value` tells programs about it.
    pub(super) fn over(mut self, told: &str, mut value: Value, format: Format) -> Result<(), Failure> {
        let shown = self.file.is_none();
        if let Some(file) = self.file.take() {
            insert(&mut value, "output", file.path().display().to_string());
            say(&format!("{told}\nIt is in {}.", file.kept().display()));
        }
        let printed = match format {
            Format::Json => {
                if shown {
                    insert(&mut value, "key", self.key.expose().to_owned());
                }
                print(&value)
            }
            Format::Text if shown => self.show(told),
            Format::Text => Ok(()),
        };
        printed.map_err(|_| {
            let id = self.key.id();
            Failure::Failed(format!(
                "the key could not be shown and is lost; rotate or revoke it (made with id {id})"
            ))
        })
    }

    fn show(&self, told: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout();
        if out.is_terminal() {
            say(&format!("{told} It is shown this once:\n"));
            writeln!(out, "    {}\n", self.key.expose())?;
            say("The running gateway takes it within a second.");
        } else {
            writeln!(out, "{}", self.key.expose())?;
        }
        Ok(out.flush()?)
    }

    /// The TOML goes to stdout, so the key goes where it cannot be pasted into the key file by mistake: its own file, or
    /// stderr.
    pub(super) fn beside_toml(self, toml: &str, told: &str, format: Format) -> Result<(), Failure> {
        self.aside(told);
        match format {
            Format::Text => Ok(write!(std::io::stdout(), "{toml}")?),
            Format::Json => print(&serde_json::json!({ "applied": false, "toml": toml })),
        }
    }

    /// The key file is not to be written here: the TOML to apply, and the key that it is for.
    pub(super) fn apply_elsewhere(self, why: &str, toml: &str, told: &str, format: Format) -> Failure {
        self.aside(told);
        to_apply(why, toml, format)
    }

    fn aside(self, told: &str) {
        match self.file {
            Some(file) => say(&format!("{told}\nIt is in {}.", file.kept().display())),
            None => say(&format!("{told} It is shown this once:\n\n    {}\n", self.key.expose())),
        }
    }
}

fn insert(value: &mut Value, name: &str, text: String) {
    if let Some(object) = value.as_object_mut() {
        object.insert(name.to_owned(), text.into());
    }
}
