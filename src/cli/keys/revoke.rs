//! `sidelock keys revoke`: out of use at once; the block stays and says when and why.

use std::path::Path;

use super::super::terminal::{confirm, roughly};
use super::super::{Failure, say};
use super::{Bench, Format, arguments, view};
use crate::editing::desk::{Purpose, Work};
use crate::editing::{Field, Setting};
use crate::keys::key::Standing;
use crate::keys::last_used::is_busy;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Which key
    #[arg(value_name = "ID|TITLE")]
    key: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Do not ask, even if it was used within the last hour
    #[arg(long, short)]
    yes: bool,
    /// Print what is known of the key as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let reason = arguments::line("reason", &opts.reason)?;
    if !opts.yes {
        // Before the lock is taken: nobody waits while someone thinks.
        ask(&Bench::open(path, Purpose::Look)?, &opts.key)?;
    }
    let bench = Bench::open(path, Purpose::Change)?;
    let (at, key) = bench.find(&opts.key)?;
    if key.standing == Standing::Revoked {
        say(&format!("Key {} is revoked already; nothing was changed.", view::name(key)));
        return Ok(());
    }
    if key.standing == Standing::Decoy {
        let why = "a decoy, which opens nothing; delete its block to be rid of it";
        return Err(Failure::Failed(format!("key {} is {why}", view::name(key))));
    }
    let fields = [
        ("revoked", Setting::Truth(true)),
        ("revoked_at", Setting::Moment(bench.now)),
        ("revoked_reason", Setting::Text(reason)),
    ];
    let work = Work::default().set(at, fields.map(|(name, setting)| Field { name, setting }).to_vec());
    let done = format!("Key {} is revoked; the running gateway refuses it within a second.", view::name(key));
    let value = serde_json::json!({ "id": key.id.as_str(), "revoked_at": bench.now.rfc3339() });
    bench.change("revoke", &work, Format::of(opts.json), (&done, value))
}

fn ask(bench: &Bench, named: &str) -> Result<(), Failure> {
    let (_, key) = bench.find(named)?;
    match bench.last_used.of(&key.id).any {
        Some(last) if is_busy(Some(last), bench.now) => {
            let ago = roughly(bench.now.since(last));
            confirm(&format!("Key {} was used {ago} ago.", view::name(key)))
        }
        Some(_) | None => Ok(()),
    }
}
