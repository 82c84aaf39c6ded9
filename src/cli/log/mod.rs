//! `sidelock log`: what was asked and what became of it, out of the access log; and with `--changes` who changed which key.

mod changes;
mod output;
mod wanted;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::moment::When;
use super::place::Place;
use super::{Failure, say};
use crate::clock::{Clock, WallTime};
use crate::records::follow::Follower;
use output::{Format, Output};
use wanted::{Wanted, WantedOpts};

/// Without `--since`.
const USUAL: Duration = Duration::from_secs(24 * 3_600);
/// Between two looks at a log that is followed.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// From when: 72h, 7d, a moment, a day (UTC), or all; 24h without it, all with --request-id, now with --follow
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// Up to when, likewise
    #[arg(long, value_name = "WHEN", conflicts_with = "follow")]
    until: Option<When>,
    #[command(flatten)]
    wanted: WantedOpts,
    /// Only the last so many
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: Option<u32>,
    /// Go on with what is written from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// Another log than the configured one, with its rotated files; - for stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Show the changes of keys that commands made instead
    #[arg(long, conflicts_with_all = ["since", "until", "limit", "follow", "file", "WantedOpts"])]
    changes: bool,
    /// Find missing, altered and reordered changes instead; exit with 1 if there are any
    #[arg(long, requires = "changes")]
    verify: bool,
    /// Print JSON: of the access log its lines as they are
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    if opts.changes {
        return changes::run(path, opts.verify, opts.json);
    }
    let now = Clock::system().wall();
    let place = Place::find(path, opts.file.as_deref())?;
    let wanted = Wanted::of(&opts.wanted, &place)?;
    let format = if opts.json { Format::Json } else { Format::Table };
    let mut output = Output::new(&place, format, opts.limit);
    let follower = follower(opts, &place)?;
    output.head()?;
    past(opts, &place, (&wanted, now), &mut output)?;
    match follower {
        Some(follower) => follow(follower, &wanted, &mut output),
        None => Ok(()),
    }
}

/// Where following begins is settled before the past is read. What is written in between is seen twice at worst.
fn follower(opts: &Opts, place: &Place) -> Result<Option<Follower>, Failure> {
    if !opts.follow {
        return Ok(None);
    }
    let log = place.log().ok_or_else(|| Failure::Failed("stdin cannot be followed".to_owned()))?;
    Ok(Some(Follower::at_end(log)?))
}

fn past(
    opts: &Opts,
    place: &Place,
    (wanted, now): (&Wanted, WallTime),
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let since = match (opts.since, opts.follow) {
        (Some(when), _) => when.from(now),
        // What was said so far is seen at once: whoever follows knows that it has begun.
        (None, true) => return Ok(output.finish()?),
        (None, false) if opts.wanted.request_id.is_some() => None,
        (None, false) => {
            say("of the last 24 hours; --since says otherwise");
            Some(now.before(USUAL))
        }
    };
    let query = wanted.query(since, opts.until.and_then(|when| when.from(now)));
    let mut failed = None;
    place.read(&query, &mut |found| {
        if wanted.fits(&found.record)
            && let Err(error) = output.show(&found)
        {
            failed = Some(error);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(output.finish()?),
    }
}

/// Shows what comes, until nobody reads it any more or a signal ends it.
fn follow(mut follower: Follower, wanted: &Wanted, output: &mut Output<'_>) -> Result<(), Failure> {
    let query = wanted.query(None, None);
    loop {
        let mut shown = Ok(());
        follower.look(&query, &mut |found| {
            if wanted.fits(&found.record) && shown.is_ok() {
                shown = output.show(&found);
            }
            ControlFlow::Continue(())
        })?;
        shown?;
        output.flush()?;
        std::thread::park_timeout(LOOK_EVERY);
    }
}
