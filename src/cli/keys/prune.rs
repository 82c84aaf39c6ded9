//! `sidelock keys prune`: keys that have long been over leave the file; the change record keeps what they were.

use std::path::Path;
use std::time::Duration;

use super::super::terminal::{confirm, roughly};
use super::super::{Failure, say};
use super::{Bench, Format, print, view};
use crate::config::units::Span;
use crate::editing::desk::{Desk, Draft, Purpose, Work};
use crate::keys::key::Key;
use crate::reload::{CONFIRM_DROP, write_whole};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// How long they have been revoked or expired
    #[arg(long, value_name = "DURATION", default_value = "90d")]
    older_than: Span,
    /// List them and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Print their ids as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let Span(age) = opts.older_than;
    let look = Bench::open(path, Purpose::Look)?;
    let found: Vec<String> = look.over(age).map(|(_, key)| key.id.as_str().to_owned()).collect();
    for (_, key) in look.over(age) {
        let since = key.over_since(look.now).map_or_else(String::new, |at| roughly(look.now.since(at)));
        say(&format!("{}: {} {since} ago", view::name(key), key.phase(look.now).word()));
    }
    if found.is_empty() || opts.dry_run {
        say(&format!("{}; nothing was changed.", counted(found.len(), "would go")));
        return if opts.json { print(&serde_json::json!({ "removed": [], "found": found })) } else { Ok(()) };
    }
    if !opts.yes {
        confirm(&format!("{}.", counted(found.len(), "will leave the file")))?;
    }
    remove(&Bench::open(path, Purpose::Change)?, &found, age, opts)
}

/// Removes what was listed, as far as it is still over.
fn remove(bench: &Bench, listed: &[String], age: Duration, opts: &Opts) -> Result<(), Failure> {
    let listed: std::collections::HashSet<&str> = listed.iter().map(String::as_str).collect();
    let gone: Vec<(usize, &Key)> =
        bench.over(age).filter(|(_, key)| listed.contains(key.id.as_str())).collect();
    let work = gone.iter().fold(Work::default(), |work, (at, _)| work.remove(*at));
    let draft = bench.draft(&work)?;
    bench.expect_drop(gone.len(), &draft);
    let ids: Vec<&str> = gone.iter().map(|(_, key)| key.id.as_str()).collect();
    let value = serde_json::json!({ "removed": ids });
    let done = format!("{}.", counted(gone.len(), "left the file"));
    bench.change("prune", &work, Format::of(opts.json), (&done, value))
}

fn counted(count: usize, what: &str) -> String {
    let noun = if count == 1 { "key" } else { "keys" };
    format!("{count} {noun} {what}")
}

impl Bench {
    fn over(&self, age: Duration) -> impl Iterator<Item = (usize, &Key)> {
        self.desk.keys().iter().enumerate().filter(move |(_, key)| {
            key.over_since(self.now).is_some_and(|since| self.now.since(since) >= age)
        })
    }

    /// Tells the running process that just this content is meant to have fewer keys, where it would otherwise suspect a
    /// truncated file. What goes opens nothing any more, so this lets nobody in or out.
    fn expect_drop(&self, gone: usize, draft: &Draft) {
        if gone * 2 <= self.desk.keys().len() {
            return;
        }
        let path = self.desk.loaded.config.server.state_dir.join(CONFIRM_DROP);
        if let Err(error) = write_whole(&path, Desk::digest_after(draft).as_bytes()) {
            say(&format!("{}: {error}; run 'sidelock reload --confirm-drop' afterwards", path.display()));
        }
    }
}
