//! `sidelock keys show`: all that the file says of one key, and from where it was used.

use std::io::Write;
use std::path::Path;

use super::super::Failure;
use super::super::terminal::plain;
use super::{Bench, print, view};
use crate::editing::desk::Purpose;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Which key
    #[arg(value_name = "ID|TITLE")]
    key: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let bench = Bench::open(path, Purpose::Look)?;
    let (at, key) = bench.find(&opts.key)?;
    let uses = bench.last_used.of(&key.id);
    // As written, so that nothing is lost on the way; digests are cut short.
    let fields = bench.desk.fields(at).map_err(|error| Failure::Failed(error.to_string()))?;
    if opts.json {
        let mut value = view::as_json(key, uses, bench.now);
        if let Some(object) = value.as_object_mut() {
            let written: serde_json::Map<_, _> =
                fields.into_iter().map(|(name, text)| (name, text.into())).collect();
            object.insert("fields".to_owned(), written.into());
            let (networks, addresses) = view::origins(bench.origins.of(&key.id));
            object.insert("networks".to_owned(), networks);
            object.insert("addresses".to_owned(), addresses);
        }
        return print(&value);
    }
    let mut out = std::io::stdout();
    let last = uses.any.map_or_else(|| "-".to_owned(), crate::clock::WallTime::rfc3339);
    let told = [("state", view::state(key, bench.now)), ("last used", last)];
    let fields = fields.iter().map(|(name, text)| (name.as_str(), plain(text)));
    for (name, text) in fields.chain(told).chain(view::previous_line(key, uses)) {
        writeln!(out, "{name:<14}  {text}")?;
    }
    for (name, text) in bench.origins.of(&key.id).into_iter().flat_map(view::origin_lines) {
        writeln!(out, "{name:<14}  {text}")?;
    }
    Ok(())
}
