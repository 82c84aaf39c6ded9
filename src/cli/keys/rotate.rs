//! `sidelock keys rotate`: a new secret under the same id; the old one works on for a while, so that nobody is locked out
//! between two deployments.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::super::Failure;
use super::super::terminal::roughly;
use super::arguments::{Expiry, LAST, Overlap};
use super::handing::Output;
use super::{Bench, Conclusion, Format, view};
use crate::clock::WallTime;
use crate::credential::api_key::PlainKey;
use crate::editing::desk::{Purpose, Work};
use crate::editing::{Field, Setting};
use crate::keys::key::{Ends, Key, Previous};
use crate::keys::last_used::is_busy;
use crate::keys::phase::Phase;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Which key
    #[arg(value_name = "ID|TITLE")]
    key: String,
    /// How long the old secret works on, as 24h or 48h; 0 for not at all
    #[arg(long, value_name = "DURATION", default_value = "24h", conflicts_with = "finish")]
    overlap: Overlap,
    /// Count the overlap from the first use of the new secret instead of from now
    #[arg(long, conflicts_with = "finish")]
    from_first_use: bool,
    /// When the key stops working; without it, it gets its old lifetime anew
    #[arg(long, value_name = "WHEN", conflicts_with = "finish")]
    expires: Option<Expiry>,
    /// Give no new secret, but end the old one now
    #[arg(long)]
    finish: bool,
    /// Even if the old secret was used within the last hour, or works still
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    output: Output,
    /// Print the key and what is known of it as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let bench = Bench::open(path, Purpose::Change)?;
    let (at, key) = bench.find(&opts.key)?;
    if opts.finish { finish(&bench, at, key, opts) } else { rotate(&bench, at, key, opts) }
}

fn rotate(bench: &Bench, at: usize, key: &Key, opts: &Opts) -> Result<(), Failure> {
    let phase = key.phase(bench.now);
    if phase.is_over() {
        let what = if phase == Phase::Decoy { "a decoy" } else { phase.word() };
        return Err(Failure::Failed(format!("key {} is {what}; make a new one", view::name(key))));
    }
    if phase == Phase::Rotating && !opts.force {
        return Err(Failure::Failed(format!(
            "key {} still has an old secret; end that first with 'rotate --finish', or say --force to drop it",
            view::name(key)
        )));
    }
    let new = PlainKey::generate_for(key.id.as_str()).map_err(|error| Failure::Failed(error.to_string()))?;
    let previous = previous(key, opts, bench.now)?;
    let mut fields = vec![
        Field { name: "digest", setting: Setting::Text(new.digest().to_string()) },
        Field { name: "rotated", setting: Setting::Moment(bench.now) },
        Field { name: "previous", setting: previous.map_or(Setting::Absent, Setting::Previous) },
    ];
    let expires = new_expiry(key, opts.expires, bench.now)?;
    if let Some(expires) = expires {
        fields.push(Field { name: "expires", setting: Setting::Moment(expires) });
    }
    let draft = bench.draft(&Work::default().set(at, fields))?;
    let handing = opts.output.prepare(&new)?;
    let told = format!("New secret of key {}; {}.", view::name(key), fate(previous));
    let format = Format::of(opts.json);
    match bench.apply("rotate", &draft)? {
        Conclusion::ToApply { why, toml } => Err(handing.apply_elsewhere(&why, &toml, &told, format)),
        Conclusion::Done => {
            let until = previous.and_then(|previous| match previous.ends {
                Ends::At(until) => Some(until.rfc3339()),
                Ends::AfterFirstUse(_) => None,
            });
            let value = json!({
                "id": key.id.as_str(),
                "title": key.title.as_str(),
                "rotated": bench.now.rfc3339(),
                "expires": expires.map(WallTime::rfc3339),
                "previous_until": until,
            });
            handing.over(&told, value, format)
        }
    }
}

fn previous(key: &Key, opts: &Opts, now: WallTime) -> Result<Option<Previous>, Failure> {
    let Overlap(overlap) = opts.overlap;
    let ends = match (overlap.is_zero(), opts.from_first_use) {
        (true, false) => return Ok(None),
        (true, true) => {
            let why = "--from-first-use needs an overlap that is not 0";
            return Err(Failure::Failed(why.to_owned()));
        }
        (false, false) => Ends::At(Expiry::In(overlap).moment(now)?),
        (false, true) => Ends::AfterFirstUse(overlap),
    };
    Ok(Some(Previous { digest: key.digest, ends }))
}

fn fate(previous: Option<Previous>) -> String {
    match previous.map(|previous| previous.ends) {
        None => "the old one no longer works".to_owned(),
        Some(Ends::At(until)) => format!("the old one works until {}", until.rfc3339()),
        Some(Ends::AfterFirstUse(overlap)) => {
            format!("the old one works until {} after the new one's first use", roughly(overlap))
        }
    }
}

/// A new secret lives as long as the one before it was meant to; a key that never expires stays so.
fn new_expiry(key: &Key, typed: Option<Expiry>, now: WallTime) -> Result<Option<WallTime>, Failure> {
    const USUAL: Duration = Duration::from_secs(90 * 86_400);
    if let Some(expiry) = typed {
        return expiry.moment(now).map(Some);
    }
    let Some(expires) = key.expires else { return Ok(None) };
    let lifetime = key.secret_made().map_or(USUAL, |made| expires.since(made));
    // A moment that was set by hand and lies further ahead stays.
    Ok(Some(now.after(lifetime).max(expires).min(LAST)))
}

fn finish(bench: &Bench, at: usize, key: &Key, opts: &Opts) -> Result<(), Failure> {
    let Some(previous) = key.previous else {
        return Err(Failure::Failed(format!("key {} has no old secret", view::name(key))));
    };
    if !opts.force {
        let uses = bench.last_used.of(&key.id).of_previous(&previous.digest);
        refuse_if_busy(uses.map(|uses| uses.last), bench.now)?;
    }
    let gone = Field { name: "previous", setting: Setting::Absent };
    let done = format!("The old secret of key {} no longer works.", view::name(key));
    let value = json!({ "id": key.id.as_str(), "finished": true });
    let work = Work::default().set(at, vec![gone]);
    bench.change("rotate --finish", &work, Format::of(opts.json), (&done, value))
}

fn refuse_if_busy(last: Option<WallTime>, now: WallTime) -> Result<(), Failure> {
    match last {
        Some(last) if is_busy(Some(last), now) => Err(Failure::Failed(format!(
            "the old secret was used {} ago: someone still has it; say --force to end it all the same",
            roughly(now.since(last))
        ))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_old_secret_is_not_ended_unasked() {
        let now = WallTime::from_unix_secs(1_800_000_000);
        let used = |secs_ago: i64| Some(WallTime::from_unix_secs(now.unix_secs() - secs_ago));
        let refused = refuse_if_busy(used(3_599), now).unwrap_err().to_string();
        assert!(refused.contains("used 59min ago"), "{refused}");
        assert!(refuse_if_busy(used(3_600), now).is_ok());
        assert!(refuse_if_busy(None, now).is_ok());
    }
}
