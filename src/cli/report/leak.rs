//! The blast radius of a key in words.

use serde_json::{Value, json};

use super::super::place::Place;
use super::document::{
    Bar, Bars, Cell, Document, Part, Section, Table, Tile, Tone, bytes, code, count, counted, number, text,
    when,
};
use super::review::at_least;
use crate::clock::WallTime;
use crate::denial::words::meaning;
use crate::report::Stamp;
use crate::report::leak::{Radius, Row};
use crate::report::touched::Reached;

/// The key, as far as the key file still has it.
pub(super) struct Holder {
    pub(super) id: String,
    pub(super) title: Option<String>,
    pub(super) state: Option<&'static str>,
    pub(super) scopes: Vec<String>,
    pub(super) owner: Option<String>,
    pub(super) revoked_at: Option<WallTime>,
}

impl Holder {
    pub(super) fn of(place: &Place, id: &str, now: WallTime) -> Self {
        let key = place.key(id);
        let about = key.and_then(|key| key.about.as_deref());
        Self {
            id: id.to_owned(),
            title: key.map(|key| key.title.as_str().to_owned()),
            state: key.map(|key| key.phase(now).word()),
            scopes: key
                .map(|key| key.scope_names.split_ascii_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            owner: about.and_then(|about| about.owner.as_deref()).map(str::to_owned),
            revoked_at: about.and_then(|about| about.revoked_at),
        }
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "id": self.id,
            "title": self.title,
            "state": self.state,
            "scopes": self.scopes,
            "owner": self.owner,
            "revoked_at": self.revoked_at.map(WallTime::rfc3339),
        })
    }

    fn sentence(&self) -> String {
        match (&self.title, self.state) {
            (Some(title), Some(state)) => {
                format!("{} '{title}', {state}; it may use: {}", self.id, self.scopes.join(", "))
            }
            (_, _) => format!("{}, which is no longer in the key file", self.id),
        }
    }
}

/// `2026-11-22 10:00:05`.
pub(super) fn moment(stamp: Stamp) -> String {
    stamp.0.rfc3339().replace('T', " ").chars().take(19).collect()
}

pub(super) fn document(holder: &Holder, radius: &Radius, notice: &str) -> Document {
    let span = &radius.span;
    let sections = vec![
        over_time(radius),
        addresses(radius),
        changes(radius),
        exports(radius),
        records(radius),
        asked(radius),
        refusals(radius),
        Section {
            parts: vec![Part::Text(notice.to_owned())],
            ..Section::new("Draft of a notice", "What is in brackets is for you to fill in.")
        },
    ];
    Document {
        title: format!("What was done with key {}", holder.id),
        subtitle: format!(
            "{} to {} (UTC). Key {}",
            moment(span.since),
            moment(span.until),
            holder.sentence()
        ),
        notes: notes(radius),
        tiles: tiles(radius),
        sections: sections.into_iter().filter(|it| !it.parts.is_empty() || !it.lead.is_empty()).collect(),
    }
}

fn notes(radius: &Radius) -> Vec<String> {
    let mut notes = Vec::new();
    if radius.requests == 0 {
        notes.push("The log holds no request with this key in this time.".to_owned());
    }
    notes.push(radius.baseline_since.map_or_else(
        || "The log holds no use of this key before this time: nothing can be called new.".to_owned(),
        |since| {
            let requests = counted(radius.baseline_requests, "request");
            format!("New is what did not happen in the {requests} since {}.", moment(since))
        },
    ));
    if radius.sampled {
        notes.push(
            "Successes were sampled: counts are estimates, and records may have been reached that are not listed."
                .to_owned(),
        );
    }
    notes
}

fn tiles(radius: &Radius) -> Vec<Tile> {
    let new = radius.addresses.iter().filter(|row| row.new).count() as u64;
    let tile = |label, value: String, note: String, tone| Tile { label, value, note, tone };
    let tone = |count: u64, tone| if count > 0 { tone } else { Tone::Plain };
    let changes: u64 = radius.changes.iter().map(|row| row.counted.count).sum();
    let done: u64 = radius.changes.iter().map(|row| row.outcomes.succeeded).sum();
    let exports: u64 = radius.exports.iter().map(|it| it.counted.count).sum();
    let exported: u64 = radius.exports.iter().map(|it| it.bytes_out).sum();
    let records: u64 = radius.records.iter().map(|it| it.ids).sum();
    let last = radius.last.map_or_else(String::new, |last| format!("last {}", moment(last)));
    vec![
        tile("Requests", count(radius.requests), last, Tone::Plain),
        tile(
            "Addresses",
            count(radius.addresses.len() as u64),
            format!("{} new", count(new)),
            tone(new, Tone::Bad),
        ),
        tile("Records reached", count(records), bytes(radius.bytes_out) + " of answers", Tone::Plain),
        tile("Changes tried", count(changes), format!("{} succeeded", count(done)), tone(done, Tone::Warn)),
        tile("Exports and bulk calls", count(exports), bytes(exported), tone(exports, Tone::Bad)),
        tile("Refused", count(radius.refused), String::new(), tone(radius.refused, Tone::Warn)),
    ]
}

fn over_time(radius: &Radius) -> Section {
    let mut section = Section::new("When", "");
    if radius.requests == 0 {
        return section;
    }
    if !radius.hours.is_empty() {
        let bars = radius.hours.iter().zip(0_u32..).map(|((allowed, refused), hour)| {
            let at = radius.span.since.0.after(std::time::Duration::from_secs(3_600) * hour);
            let label = moment(Stamp(at)).chars().take(16).collect();
            Bar { label, allowed: *allowed, refused: *refused, ..Bar::default() }
        });
        section = section.bars(Bars { title: "Requests by hour".to_owned(), bars: bars.collect() });
    }
    let has_past = radius.baseline_since.is_some();
    let bars = radius.day.iter().zip(radius.usual_day).enumerate().map(|(hour, (now, usual))| Bar {
        label: format!("{hour:02}:00"),
        allowed: *now,
        usual: has_past.then_some(usual),
        ..Bar::default()
    });
    section.bars(Bars { title: "Requests by hour of the day (UTC)".to_owned(), bars: bars.collect() })
}

fn new(row: &Row) -> Cell {
    if row.new { Cell::Flag(Tone::Bad, "new".to_owned()) } else { text("") }
}

fn ended(row: &Row) -> [Cell; 3] {
    let outcomes = &row.outcomes;
    [number(outcomes.succeeded), number(outcomes.refused), number(outcomes.failed)]
}

fn first_and_last(row: &Row) -> [Cell; 2] {
    [when(moment(row.counted.first)), when(moment(row.counted.last))]
}

fn addresses(radius: &Radius) -> Section {
    let head = ["Address", "", "Requests", "Succeeded", "Refused", "Failed", "Answers", "First", "Last"];
    let forgotten = (radius.addresses_forgotten > 0)
        .then(|| format!("{} others were forgotten for want of room", count(radius.addresses_forgotten)));
    let table = Table::new("", &head).with(&radius.addresses, |row| {
        let mut cells = vec![code(&*row.counted.name), new(row), at_least(&row.counted)];
        cells.extend(ended(row));
        cells.push(Cell::Number(bytes(row.outcomes.bytes_out)));
        cells.extend(first_and_last(row));
        cells
    });
    Section::new("From where", "").table(table.and(forgotten))
}

fn shapes(rows: &[Row]) -> Table {
    let head = ["Request", "", "Count", "Succeeded", "Refused", "Failed", "First", "Last"];
    Table::new("", &head).with(rows, |row| {
        let mut cells = vec![code(&*row.counted.name), new(row), at_least(&row.counted)];
        cells.extend(ended(row));
        cells.extend(first_and_last(row));
        cells
    })
}

fn changes(radius: &Radius) -> Section {
    let lead = if radius.changes.is_empty() {
        "No POST, PUT, PATCH or DELETE."
    } else {
        "POST, PUT, PATCH and DELETE. In some CRMs a POST only searches."
    };
    Section::new("Changes tried", lead).table(shapes(&radius.changes))
}

fn exports(radius: &Radius) -> Section {
    let lead =
        if radius.exports.is_empty() { "No request under a scope for exports or bulk calls." } else { "" };
    let head = ["Scope and request", "Count", "Answers", "First", "Last"];
    let table = Table::new("", &head).with(&radius.exports, |it| {
        vec![
            code(&*it.counted.name),
            number(it.counted.count),
            Cell::Number(bytes(it.bytes_out)),
            when(moment(it.counted.first)),
            when(moment(it.counted.last)),
        ]
    });
    Section::new("Exports and bulk calls", lead).table(table)
}

/// Ids that are written into a row.
const IDS: usize = 40;

fn records(radius: &Radius) -> Section {
    let table =
        Table::new("", &["Path", "Records", "Which; * may have been changed"]).with(&radius.records, |it| {
            let Reached { shape, ids, incomplete, examples } = it;
            let total = if *incomplete { format!("≥ {}", count(*ids)) } else { count(*ids) };
            let star = |changed: bool| if changed { "*" } else { "" };
            let mut listed: Vec<String> =
                examples.iter().take(IDS).map(|id| format!("{}{}", id.id, star(id.changed))).collect();
            let others = ids.saturating_sub(listed.len() as u64);
            if others > 0 {
                listed.push(format!("and {} more", count(others)));
            }
            vec![code(&**shape), Cell::Number(total), text(listed.join(", "))]
        });
    let left_out = (radius.records_left_out > 0).then(|| {
        format!("{} of further paths are not told apart", counted(radius.records_left_out, "request"))
    });
    let lead = if radius.records.is_empty() {
        "No path with an id was let through."
    } else {
        "By the ids in the paths that were let through; what lists returned is not known."
    };
    Section::new("Records reached", lead).table(table.and(left_out))
}

fn asked(radius: &Radius) -> Section {
    let forgotten = (radius.shapes_forgotten > 0)
        .then(|| format!("{} others were forgotten for want of room", count(radius.shapes_forgotten)));
    Section::new("What was asked for", "").table(shapes(&radius.shapes).and(forgotten))
}

fn refusals(radius: &Radius) -> Section {
    let table =
        Table::new("By reason", &["Reason", "Word", "Count", "First", "Last"]).with(&radius.reasons, |it| {
            vec![
                text(meaning(&it.name, None)),
                code(&*it.name),
                number(it.count),
                when(moment(it.first)),
                when(moment(it.last)),
            ]
        });
    let statuses = Table::new("By status", &["Status", "Count"])
        .with(&radius.statuses, |it| vec![code(&*it.name), number(it.count)]);
    Section::new("How it ended", "").table(table).table(statuses)
}
