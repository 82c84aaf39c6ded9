//! `sidelock report`: the weekly review, and with `--key` what a leaked key reached. As text, JSON, or one HTML file.

mod document;
mod html;
mod leak;
mod notice;
mod plot;
mod review;
mod text;

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::moment::When;
use super::place::Place;
use super::terminal::json_plain;
use super::{Failure, say};
use crate::clock::{Clock, WallTime};
use crate::keys::last_used::LastUsed;
use crate::records::reading::Query;
use crate::report::leak::{BASELINE, Leak};
use crate::report::review::{Known, Review};
use crate::report::volume::Periods;
use crate::report::{Span, Stamp};
use document::Document;

/// Without `--since`: a week, and with `--key` the 72 hours that checklists ask for.
const WEEK: Duration = Duration::from_secs(7 * 86_400);
const DAYS_72: Duration = Duration::from_secs(72 * 3_600);
/// Longest span: longer than any log is kept.
const MOST: Duration = Duration::from_secs(3_660 * 86_400);

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// What was done with this key, by id or title, against its own past; for a key that leaked
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// From when: 72h, 7d, a moment or a day (UTC); 7d without it, 72h with --key
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Up to when, likewise; now without it
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,
    /// Write one HTML file that needs nothing else; - for stdout
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    html: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Another log than the configured one, with its rotated files; - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let now = Clock::system().wall();
    let until = opts.until.and_then(|when| when.from(now)).unwrap_or(now);
    let usual = if opts.key.is_some() { DAYS_72 } else { WEEK };
    let since = match opts.since {
        Some(When::Ever) => {
            let what = "a report needs a beginning: a time span such as '30d', or a moment";
            return Err(Failure::Failed(what.to_owned()));
        }
        Some(when) => when.from(now).unwrap_or(until),
        None => until.before(usual),
    };
    let length = until.since(since);
    if length.is_zero() || length > MOST {
        return Err(Failure::Failed(
            "a report needs a time from --since to --until, of ten years at most".to_owned(),
        ));
    }
    let place = Place::find(path, opts.file.as_deref())?;
    let span = Span { since: Stamp(since), until: Stamp(until) };
    let (value, document) = match &opts.key {
        Some(named) => of_key(&place, &place.id_of(named)?, span, now)?,
        // What expires soon, or was unused for long, is so at the end of the time that is looked at.
        None => of_all(&place, &Periods::new(until, length), until)?,
    };
    match (&opts.html, opts.json) {
        (Some(file), _) => write_page(file, &html::page(&document)),
        (None, true) => Ok(writeln!(std::io::stdout(), "{}", json_plain(&value.to_string()))?),
        (None, false) => Ok(std::io::stdout().write_all(text::text(&document).as_bytes())?),
    }
}

fn of_all(place: &Place, periods: &Periods, now: WallTime) -> Result<(Value, Document), Failure> {
    let webhooks = place.config.webhooks.iter().map(|webhook| &*webhook.name);
    let mut review = Review::new(*periods, webhooks);
    let query = Query::new(Some(periods.beginning()), Some(periods.present().until.0));
    place.read(&query, &mut |found| {
        review.note(&found.record);
        ControlFlow::Continue(())
    })?;
    let last_used = LastUsed::read(&place.config.server.state_dir);
    let findings = review.finish(&Known { keys: &place.keys, last_used: &last_used, now });
    Ok((json!({ "kind": "review", "review": findings }), review::document(&findings, place)))
}

fn of_key(place: &Place, id: &str, span: Span, now: WallTime) -> Result<(Value, Document), Failure> {
    let mut leak = Leak::new(span);
    // Only ids have a needle: whatever else was typed is no key of any log.
    let query = Query::new(Some(span.since.0.before(BASELINE)), Some(span.until.0));
    place.read(&query.holding(&format!("\"{id}\"")), &mut |found| {
        if found.record.key == Some(id) {
            leak.note(&found.record);
        }
        ControlFlow::Continue(())
    })?;
    let radius = leak.finish();
    if radius.requests + radius.baseline_requests == 0 && place.key(id).is_none() {
        let what = format!(
            "neither the key file nor the log of this time and the four weeks before has a key '{id}'"
        );
        return Err(Failure::Failed(what));
    }
    let holder = leak::Holder::of(place, id, now);
    let notice = notice::draft(&holder, &radius);
    let value = json!({ "kind": "key", "key": holder.as_json(), "radius": radius, "notice": notice });
    Ok((value, leak::document(&holder, &radius, &notice)))
}

/// A report tells who did what: others on the machine do not read it.
fn write_page(file: &Path, page: &str) -> Result<(), Failure> {
    if file == Path::new("-") {
        return Ok(std::io::stdout().write_all(page.as_bytes())?);
    }
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
    opened
        .and_then(|mut file| file.write_all(page.as_bytes()))
        .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", file.display())))?;
    say(&format!("{} is written; it needs no network to be looked at", file.display()));
    Ok(())
}
