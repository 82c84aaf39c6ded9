//! `sidelock keys list`: every key on a line.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use super::super::Failure;
use super::super::terminal::{plain, roughly};
use super::{Bench, view};
use crate::clock::WallTime;
use crate::editing::desk::Purpose;
use crate::keys::key::Key;
use crate::keys::last_used::Uses;
use crate::keys::phase::Phase;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Only keys that have this in their id, title, owner, scopes or state; the case of letters does not matter
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// The order; that of the file without it
    #[arg(long, value_enum)]
    sort: Option<Order>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Order {
    Title,
    /// Oldest first
    Created,
    /// What expires first
    Expires,
    State,
    /// What was unused the longest
    LastUsed,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let bench = Bench::open(path, Purpose::Look)?;
    let mut keys: Vec<&Key> = bench.desk.keys().iter().collect();
    if let Some(text) = &opts.search {
        let text = text.to_lowercase();
        keys.retain(|key| fits(key, &text, bench.now));
    }
    if let Some(order) = opts.sort {
        bench.sort(&mut keys, order);
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if opts.json {
        let value = |key: &&Key| {
            let mut value = view::as_json(key, bench.last_used.of(&key.id), bench.now);
            let known = bench.origins.of(&key.id).map_or(0, |seen| seen.networks.len());
            value.as_object_mut().map(|object| object.insert("networks".to_owned(), known.into()));
            value
        };
        let values: Vec<_> = keys.iter().map(value).collect();
        writeln!(out, "{}", json!({ "keys": values }))?;
    } else {
        bench.table(&keys, &mut out)?;
    }
    Ok(out.flush()?)
}

/// `text` is in lower case.
fn fits(key: &Key, text: &str, now: WallTime) -> bool {
    let owner = key.about.as_ref().and_then(|about| about.owner.as_deref()).unwrap_or_default();
    let state = view::state(key, now);
    let parts = [key.id.as_str(), key.title.as_str(), owner, &key.scope_names, &state];
    parts.iter().any(|part| part.to_lowercase().contains(text))
}

impl Bench {
    fn sort(&self, keys: &mut [&Key], order: Order) {
        match order {
            Order::Title => keys.sort_by_cached_key(|key| key.title.as_str().to_lowercase()),
            Order::Created => keys.sort_by_key(|key| key.created),
            // Keys that never expire come last.
            Order::Expires => keys.sort_by_key(|key| (key.expires.is_none(), key.expires)),
            Order::State => keys.sort_by_key(|key| key.phase(self.now)),
            Order::LastUsed => keys.sort_by_key(|key| self.last_used.of(&key.id).any),
        }
    }

    fn table(&self, keys: &[&Key], out: &mut impl Write) -> Result<(), Failure> {
        const HEAD: [&str; 8] = ["ID", "STATE", "AGE", "EXPIRES", "LAST USED", "TITLE", "SCOPES", "OWNER"];
        let rows: Vec<[String; HEAD.len()]> =
            keys.iter().map(|key| self.row(key, self.last_used.of(&key.id))).collect();
        let mut widths = HEAD.map(|head| head.chars().count());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        for row in std::iter::once(&HEAD.map(str::to_owned)).chain(&rows) {
            text.clear();
            for (width, cell) in widths.iter().zip(row) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }

    fn row(&self, key: &Key, uses: Uses) -> [String; 8] {
        let none = || "-".to_owned();
        let ago = |moment: WallTime| roughly(self.now.since(moment));
        let phase = key.phase(self.now);
        let never = || if phase == Phase::Decoy { none() } else { "never".to_owned() };
        let expires = key.expires.map_or_else(never, |expires| {
            if expires > self.now {
                format!("in {}", roughly(expires.since(self.now)))
            } else {
                format!("{} ago", ago(expires))
            }
        });
        let owner = key.about.as_ref().and_then(|about| about.owner.as_deref());
        [
            key.id.as_str().to_owned(),
            view::state(key, self.now),
            key.secret_made().map_or_else(none, ago),
            expires,
            uses.any.map_or_else(none, |last| format!("{} ago", ago(last))),
            plain(key.title.as_str()),
            key.scope_names.to_string(),
            owner.map_or_else(none, plain),
        ]
    }
}
