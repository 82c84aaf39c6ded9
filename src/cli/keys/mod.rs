//! `sidelock keys`: a file per verb. Verbs that change something read the key file under its lock, say what shall be
//! different, and leave the writing to [`editing`](crate::editing).

pub(super) mod arguments;
mod create;
mod edit;
mod handing;
mod import;
mod list;
mod prune;
mod revoke;
mod rotate;
mod show;
mod view;

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::terminal::{json_plain, plain};
use super::{Failure, say, show as show_mistakes, tally};
use crate::changes::who::Who;
use crate::clock::{Clock, WallTime};
use crate::config::environment::Environment;
use crate::config::reader::meant;
use crate::credential::api_key::{self, KeyDigest};
use crate::editing::desk::{ApplyError, Deed, Desk, Draft, OpenError, Purpose, Work};
use crate::keys::key::Key;
use crate::keys::last_used::LastUsed;
use crate::keys::origins_file::KnownOrigins;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Opts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a key, add it to the key file and show it once
    Create(create::Opts),
    /// List keys with their state, age, expiry and last use
    List(list::Opts),
    /// Show one key
    Show(show::Opts),
    /// Change what a key may do, its expiry or what is written about it
    Edit(edit::Opts),
    /// Give a key a new secret; the old one works on for a while
    Rotate(rotate::Opts),
    /// Take a key out of use, at once
    Revoke(revoke::Opts),
    /// Take in keys that clients already hold; only their digests are stored
    Import(import::Opts),
    /// Remove keys that have long been revoked or expired
    Prune(prune::Opts),
}

pub(super) fn run(path: &Path, Opts { verb }: Opts) -> Result<(), Failure> {
    match verb {
        Verb::Create(opts) => create::run(path, &opts),
        Verb::List(opts) => list::run(path, &opts),
        Verb::Show(opts) => show::run(path, &opts),
        Verb::Edit(opts) => edit::run(path, &opts),
        Verb::Rotate(opts) => rotate::run(path, &opts),
        Verb::Revoke(opts) => revoke::run(path, &opts),
        Verb::Import(opts) => import::run(path, &opts),
        Verb::Prune(opts) => prune::run(path, &opts),
    }
}

/// The key file at hand, and the moment at which it is judged.
struct Bench {
    desk: Desk,
    now: WallTime,
    last_used: LastUsed,
    origins: KnownOrigins,
}

/// How a change ended that was not refused.
enum Conclusion {
    /// It is in the file.
    Done,
    /// The file is not to be written here; this is what to put into it.
    ToApply { why: String, toml: String },
}

impl Bench {
    fn open(path: &Path, purpose: Purpose) -> Result<Self, Failure> {
        let desk = Desk::open(path, &Environment::Unread, purpose).map_err(|error| match error {
            OpenError::Mistakes(loading) => {
                show_mistakes(&loading);
                Failure::Mistakes(format!("nothing was done: {}", tally(&loading)))
            }
            OpenError::NoKeyFile | OpenError::Lock(_) => Failure::Failed(error.to_string()),
        })?;
        let state_dir = &desk.loaded.config.server.state_dir;
        let (last_used, origins) = (LastUsed::read(state_dir), KnownOrigins::read(state_dir));
        Ok(Self { desk, now: Clock::system().wall(), last_used, origins })
    }

    /// The key with this id, or the only one with this title, and its position.
    fn find(&self, named: &str) -> Result<(usize, &Key), Failure> {
        find_key(self.desk.keys(), named)
    }

    fn draft(&self, work: &Work) -> Result<Draft, Failure> {
        self.desk.draft(work).map_err(|error| Failure::Failed(error.to_string()))
    }

    fn apply(&self, verb: &'static str, draft: &Draft) -> Result<Conclusion, Failure> {
        let deed = Deed { verb, when: self.now, who: Who::here(|name| Environment::Process.get(name)) };
        match self.desk.apply(draft, &deed) {
            Ok(()) => Ok(Conclusion::Done),
            Err(ApplyError::ReadOnly(why)) => Ok(Conclusion::ToApply { why, toml: draft.toml.clone() }),
            Err(error) => Err(Failure::Failed(error.to_string())),
        }
    }

    /// Applies a change and tells how it ended: `done` for people, `value` for programs.
    fn change(
        &self,
        verb: &'static str,
        work: &Work,
        format: Format,
        (done, value): (&str, Value),
    ) -> Result<(), Failure> {
        match self.apply(verb, &self.draft(work)?)? {
            Conclusion::Done => {
                say(done);
                if format == Format::Json { print(&value) } else { Ok(()) }
            }
            Conclusion::ToApply { why, toml } => Err(to_apply(&why, &toml, format)),
        }
    }
}

/// The key with this id, or the only one with this title, and its position.
pub(super) fn find_key<'k>(keys: &'k [Key], named: &str) -> Result<(usize, &'k Key), Failure> {
    let with = |fits: &dyn Fn(&Key) -> bool| -> Vec<(usize, &'k Key)> {
        keys.iter().enumerate().filter(|(_, key)| fits(key)).collect()
    };
    let digest = KeyDigest::of(named.as_bytes());
    let is_its_secret =
        |key: &Key| key.digest == digest || key.previous.is_some_and(|previous| previous.digest == digest);
    let mut found = with(&|key| key.id.as_str() == named);
    if found.is_empty() {
        // In an emergency the leaked key is what one has at hand.
        found = with(&is_its_secret);
    }
    if found.is_empty() {
        found = with(&|key| key.title.as_str() == named);
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] if is_secret(named) => {
            Err(Failure::Failed("no key has this secret; name a key by its id or title".to_owned()))
        }
        [] => {
            let names = keys.iter().flat_map(|key| [key.id.as_str(), key.title.as_str()]);
            let near = meant(named, names)
                .map_or_else(String::new, |near| format!("; did you mean '{}'?", plain(near)));
            Err(Failure::Failed(format!("no key has the id or title '{}'{near}", plain(named))))
        }
        several => {
            let ids: Vec<&str> = several.iter().map(|(_, key)| key.id.as_str()).collect();
            Err(Failure::Failed(format!(
                "several keys have this title; name one by its id: {}",
                ids.join(", ")
            )))
        }
    }
}

/// True for what looks like a key of ours, whole or mistyped: it is repeated nowhere.
pub(super) fn is_secret(text: &str) -> bool {
    const FEWEST: usize = 20;
    text.split_whitespace().any(|word| word.starts_with(api_key::PREFIX) && word.len() >= FEWEST)
}

/// How results are printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

impl Format {
    const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }
}

fn print(value: &Value) -> Result<(), Failure> {
    Ok(writeln!(std::io::stdout(), "{}", json_plain(&value.to_string()))?)
}

/// Prints what to put into a key file that cannot be written here.
fn to_apply(why: &str, toml: &str, format: Format) -> Failure {
    let printed = match format {
        Format::Text => write!(std::io::stdout(), "{toml}"),
        Format::Json => {
            let value = json!({ "applied": false, "why": why, "toml": toml });
            writeln!(std::io::stdout(), "{}", json_plain(&value.to_string()))
        }
    };
    match printed {
        Ok(()) => Failure::Failed(format!(
            "the key file cannot be written here: {why}; nothing was changed, and the TOML on stdout is what to apply"
        )),
        Err(error) => error.into(),
    }
}
