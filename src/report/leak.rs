//! The blast radius of a leaked key: what was done with it, from where, and what of that is new.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use super::tops::{Entry, Tops};
use super::touched::{Reached, Touched};
use super::{Counted, Span, Stamp, network, shape};
use crate::clock::WallTime;
use crate::records::line::Record;

/// How far back before the span a key's usual behaviour is looked for: 28 days.
pub const BASELINE: Duration = Duration::from_secs(28 * 86_400);
/// Addresses that are told apart for certain.
const MOST_ADDRESSES: usize = 10_000;
/// Shapes of paths, with their method, that are told apart for certain.
const MOST_SHAPES: usize = 5_000;
/// Words that are told apart.
const MOST_WORDS: usize = 200;
/// Rows of each table.
const SHOWN: usize = 1_000;
/// Longest span with a bar for each hour.
const MOST_HOURS: usize = 31 * 24;
const HOUR: Duration = Duration::from_secs(3_600);

/// What is counted while the log is read.
#[derive(Debug)]
pub struct Leak {
    span: Span,
    now: Part,
    before: Part,
    /// Requests of each hour of the span, allowed and refused.
    hours: Vec<(u64, u64)>,
    statuses: Tops<()>,
    reasons: Tops<()>,
    exports: Tops<Exported>,
    touched: Touched,
    bytes: (u64, u64),
    sampled: bool,
}

/// What is kept both of the span and of the time before it.
#[derive(Debug)]
struct Part {
    requests: u64,
    refused: u64,
    first: Option<WallTime>,
    last: Option<WallTime>,
    addresses: Tops<Outcomes>,
    shapes: Tops<Outcomes>,
    /// Requests by hour of the day, UTC.
    day: [u64; 24],
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Done, as far as the status tells.
    pub succeeded: u64,
    /// Refused here.
    pub refused: u64,
    /// Answered by the CRM with an error, or by nobody.
    pub failed: u64,
    /// Bytes of the answers.
    pub bytes_out: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Exported {
    bytes: u64,
}

/// The report.
#[derive(Clone, Debug, Serialize)]
pub struct Radius {
    /// The time that is looked at.
    pub span: Span,
    /// The first request before it that was read, if there is one: what is new is new against the time from there.
    pub baseline_since: Option<Stamp>,
    /// Requests in that time.
    pub baseline_requests: u64,
    /// True if some lines stand for several requests: then counts are estimates.
    pub sampled: bool,
    /// Requests.
    pub requests: u64,
    /// Those that were refused here.
    pub refused: u64,
    /// The first of them.
    pub first: Option<Stamp>,
    /// The last.
    pub last: Option<Stamp>,
    /// Bytes to the CRM.
    pub bytes_in: u64,
    /// Bytes of answers.
    pub bytes_out: u64,
    /// By status.
    pub statuses: Vec<Counted>,
    /// Refusals by reason.
    pub reasons: Vec<Counted>,
    /// By address.
    pub addresses: Vec<Row>,
    /// Addresses that were forgotten because there were too many.
    pub addresses_forgotten: u64,
    /// By method and shape of the path.
    pub shapes: Vec<Row>,
    /// Shapes that were forgotten because there were too many.
    pub shapes_forgotten: u64,
    /// Those of them that can change something: POST, PUT, PATCH and DELETE. Some POSTs only search.
    pub changes: Vec<Row>,
    /// Requests under scopes for exports and bulk calls, by scope and path.
    pub exports: Vec<Export>,
    /// Records that were reached.
    pub records: Vec<Reached>,
    /// Requests whose records were not kept, because there were too many shapes.
    pub records_left_out: u64,
    /// Requests of each hour from the beginning, allowed and refused; empty for more than 31 days.
    pub hours: Vec<(u64, u64)>,
    /// Requests by hour of the day in UTC.
    pub day: [u64; 24],
    /// The same before, for as many days as the span has.
    pub usual_day: [f64; 24],
}

/// Something with its outcomes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What.
    #[serde(flatten)]
    pub counted: Counted,
    /// How that ended.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// True if it was not there before the span.
    pub new: bool,
}

/// An export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Scope, method and path.
    #[serde(flatten)]
    pub counted: Counted,
    /// Bytes of the answers.
    pub bytes_out: u64,
}

impl Part {
    fn new() -> Self {
        Self {
            requests: 0,
            refused: 0,
            first: None,
            last: None,
            addresses: Tops::new(MOST_ADDRESSES),
            shapes: Tops::new(MOST_SHAPES),
            day: [0; 24],
        }
    }

    fn note(&mut self, record: &Record<'_>, shape: &str) {
        let (weight, at) = (record.weight(), record.time);
        self.requests = self.requests.saturating_add(weight);
        if record.is_refused() {
            self.refused = self.refused.saturating_add(weight);
        }
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = self.last.max(Some(at));
        let note = |outcomes: &mut Outcomes| outcomes.note(record);
        self.addresses.note(&network(record.client), (weight, at), note);
        self.shapes.note(&format!("{} {shape}", record.method), (weight, at), note);
        let hour = usize::try_from(at.unix_secs().rem_euclid(86_400) / 3_600).unwrap_or(0);
        if let Some(count) = self.day.get_mut(hour) {
            *count = count.saturating_add(weight);
        }
    }
}

impl Outcomes {
    fn note(&mut self, record: &Record<'_>) {
        let slot = match (record.reason, record.status) {
            (Some(_), _) => &mut self.refused,
            (None, Some(100..=399)) => &mut self.succeeded,
            (None, _) => &mut self.failed,
        };
        *slot = slot.saturating_add(record.weight());
        self.bytes_out = self.bytes_out.saturating_add(record.bytes_out.saturating_mul(record.weight()));
    }
}

impl Leak {
    /// Nothing counted yet.
    pub fn new(span: Span) -> Self {
        let hours = span.until.0.since(span.since.0).as_secs().div_ceil(3_600);
        let hours = usize::try_from(hours).ok().filter(|hours| *hours <= MOST_HOURS).unwrap_or(0);
        Self {
            span,
            now: Part::new(),
            before: Part::new(),
            hours: vec![(0, 0); hours],
            statuses: Tops::new(MOST_WORDS),
            reasons: Tops::new(MOST_WORDS),
            exports: Tops::new(SHOWN),
            touched: Touched::default(),
            bytes: (0, 0),
            sampled: false,
        }
    }

    /// Counts one request of the key.
    pub fn note(&mut self, record: &Record<'_>) {
        let (shape, id) = shape::of(&record.path);
        if record.time < self.span.since.0 {
            return self.before.note(record, &shape);
        }
        self.now.note(record, &shape);
        let (weight, at) = (record.weight(), record.time);
        self.sampled |= weight > 1;
        self.bytes.0 = self.bytes.0.saturating_add(record.bytes_in.saturating_mul(weight));
        self.bytes.1 = self.bytes.1.saturating_add(record.bytes_out.saturating_mul(weight));
        let hour = at.since(self.span.since.0).as_secs() / HOUR.as_secs();
        if let Some((allowed, refused)) = usize::try_from(hour).ok().and_then(|hour| self.hours.get_mut(hour))
        {
            let count = if record.is_refused() { refused } else { allowed };
            *count = count.saturating_add(weight);
        }
        let status = record.status.map_or_else(|| "none".to_owned(), |status| status.to_string());
        self.statuses.note(&status, (weight, at), |()| ());
        if let Some(reason) = record.reason {
            return self.reasons.note(reason, (weight, at), |()| ());
        }
        if let Some(id) = id {
            self.touched.note(&shape, &id, (weight, at), changes(record.method));
        }
        if let Some(scope) = record.scope.filter(|scope| is_export(scope)) {
            let path: String = record.path.chars().take(200).collect();
            let what = format!("{scope}: {} {path}", record.method);
            let bytes = record.bytes_out.saturating_mul(weight);
            self.exports.note(&what, (weight, at), |it| it.bytes = it.bytes.saturating_add(bytes));
        }
    }

    /// The report.
    pub fn finish(self) -> Radius {
        let Self { span, now, before, .. } = &self;
        let shapes = rows(&now.shapes, &before.shapes);
        let is_change = |row: &&Row| row.counted.name.split(' ').next().is_some_and(changes);
        let exports = self.exports.sorted().into_iter().zip(self.exports.counted(SHOWN));
        let days = |since: WallTime, until: WallTime| until.since(since).as_secs_f64() / 86_400.0;
        let scale = before
            .first
            .map_or(0.0, |first| days(span.since.0, span.until.0) / days(first, span.since.0).max(1.0));
        Radius {
            span: *span,
            baseline_since: before.first.map(Stamp),
            baseline_requests: before.requests,
            sampled: self.sampled,
            requests: now.requests,
            refused: now.refused,
            first: now.first.map(Stamp),
            last: now.last.map(Stamp),
            bytes_in: self.bytes.0,
            bytes_out: self.bytes.1,
            statuses: self.statuses.counted(MOST_WORDS),
            reasons: self.reasons.counted(MOST_WORDS),
            addresses: rows(&now.addresses, &before.addresses),
            addresses_forgotten: now.addresses.forgotten(),
            changes: shapes.iter().filter(is_change).cloned().collect(),
            shapes,
            shapes_forgotten: now.shapes.forgotten(),
            exports: exports
                .map(|((_, entry), counted)| Export { counted, bytes_out: entry.value.bytes })
                .collect(),
            records: self.touched.reached(),
            records_left_out: self.touched.left_out(),
            day: now.day,
            usual_day: before.day.map(|count| count as f64 * scale),
            hours: self.hours,
        }
    }
}

fn rows(now: &Tops<Outcomes>, before: &Tops<Outcomes>) -> Vec<Row> {
    let known: HashSet<&str> = before.sorted().into_iter().map(|(name, _)| name).collect();
    let counted = now.counted(SHOWN).into_iter().zip(now.sorted());
    let row = |(counted, (name, entry)): (Counted, (&str, &Entry<Outcomes>))| Row {
        outcomes: entry.value,
        new: !before.is_empty() && !known.contains(name),
        counted,
    };
    counted.map(row).collect()
}

/// Methods that can change something.
fn changes(method: &str) -> bool {
    matches!(method, "POST" | "PUT" | "PATCH" | "DELETE")
}

/// Packs call their scopes for exports and bulk calls so.
fn is_export(scope: &str) -> bool {
    scope
        .split(|it: char| !it.is_ascii_alphanumeric())
        .any(|word| matches!(word, "export" | "exports" | "bulk"))
}
