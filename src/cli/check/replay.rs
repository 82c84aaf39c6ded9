//! `sidelock check --replay`: the files on disk asked about the requests of the access log.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::moment::When;
use super::super::place::Place;
use super::super::terminal::{plain, short};
use super::super::{Failure, say};
use crate::clock::{Clock, WallTime};
use crate::config::load::Loaded;
use crate::records::reading::{Found, Query};
use crate::trial::court::Court;
use crate::trial::replay::{Change, Group, Kind, MOST_GROUPS, Replay, Totals, Unjudged};

/// Widest path and key in the table.
const WIDE: usize = 60;

/// What came of it.
pub(super) struct Replayed {
    since: Option<WallTime>,
    until: WallTime,
    groups: Vec<(Kind, Group)>,
    totals: Totals,
    /// Lines that were looked at.
    lines: u64,
}

pub(super) fn run(
    (path, log): (&Path, Option<&Path>),
    since: When,
    loaded: &Loaded,
) -> Result<Replayed, Failure> {
    let Loaded { config, keys } = loaded;
    let court = Court::new(config, &keys.keys).map_err(|error| Failure::Failed(error.to_string()))?;
    let until = Clock::system().wall();
    let since = since.from(until);
    let mut replay = Replay::new(&court, until, config.client_address.trusted_proxies.clone());
    let place = Place::find(path, log)?;
    let tally = place.read(&Query::new(since, None), &mut |Found { record, .. }| {
        replay.note(&record);
        ControlFlow::Continue(())
    })?;
    let groups = replay.groups().into_iter().map(|(kind, group)| (kind.clone(), group.clone())).collect();
    Ok(Replayed { since, until, groups, totals: replay.totals(), lines: tally.lines })
}

impl Replayed {
    pub(super) const fn changed(&self) -> u64 {
        self.totals.changed
    }

    fn of(&self, change: Change) -> Vec<&(Kind, Group)> {
        self.groups.iter().filter(|(kind, _)| kind.change == change).collect()
    }

    pub(super) fn json(&self) -> Value {
        let list = |change: Change| -> Vec<Value> {
            let all = self.of(change).into_iter().map(|(kind, group)| {
                json!({
                    "key": kind.key,
                    "method": kind.method,
                    "path": kind.shape,
                    "reason": kind.reason,
                    "count": group.count,
                    "first": group.first.rfc3339(),
                    "last": group.last.rfc3339(),
                    "example": group.example,
                })
            });
            all.collect()
        };
        let unjudged: Map<String, Value> =
            self.unjudged().map(|(what, count)| (what.word().to_owned(), count.into())).collect();
        json!({
            "since": self.since.map(WallTime::rfc3339),
            "until": self.until.rfc3339(),
            "lines": self.lines,
            "same": self.totals.same,
            "changed": self.totals.changed,
            "newly_refused": list(Change::NewlyRefused),
            "newly_allowed": list(Change::NewlyAllowed),
            "left_out": self.totals.left_out,
            "not_judged": unjudged,
        })
    }

    fn unjudged(&self) -> impl Iterator<Item = (Unjudged, u64)> {
        Unjudged::ALL.into_iter().zip(self.totals.unjudged)
    }

    /// The lists on stdout, the rest on stderr.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let lists = [
            (Change::NewlyRefused, "NEWLY REFUSED"),
            (Change::NewlyAllowed, "NEWLY ALLOWED, and why it was not"),
        ];
        for (change, title) in lists {
            let groups = self.of(change);
            if !groups.is_empty() {
                writeln!(out, "{title}")?;
                table(&groups, &mut out)?;
            }
        }
        out.flush()?;
        say(&format!(
            "{} requests would be judged as they were, {} otherwise",
            self.totals.same, self.totals.changed
        ));
        if self.totals.left_out > 0 {
            say(&format!(
                "{} of them are not listed: there are {MOST_GROUPS} groups of others",
                self.totals.left_out
            ));
        }
        for (what, count) in self.unjudged().filter(|(_, count)| *count > 0) {
            say(&format!("{count} requests were not judged: {}", what.why()));
        }
        Ok(())
    }
}

fn table(groups: &[&(Kind, Group)], out: &mut impl Write) -> std::io::Result<()> {
    let rows: Vec<[String; 7]> = groups
        .iter()
        .map(|(kind, group)| {
            [
                group.count.to_string(),
                kind.key.as_deref().map_or_else(|| "-".to_owned(), plain),
                plain(&kind.reason),
                plain(&kind.method),
                short(&plain(&kind.shape), WIDE),
                group.first.rfc3339(),
                group.last.rfc3339(),
            ]
        })
        .collect();
    let head = ["COUNT", "KEY", "REASON", "METHOD", "PATH", "FIRST", "LAST"].map(str::to_owned);
    let mut widths = [0; 7];
    for row in std::iter::once(&head).chain(&rows) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in std::iter::once(&head).chain(&rows) {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("  {cell:<width$}"));
        writeln!(out, "{}", cells.collect::<String>().trim_end())?;
    }
    Ok(())
}
