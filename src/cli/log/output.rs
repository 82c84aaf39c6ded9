//! How requests are shown: a table for people, the log's own lines for programs.

use std::collections::VecDeque;
use std::io::{BufWriter, StdoutLock, Write};

use super::super::place::Place;
use super::super::terminal::{json_plain, plain, short};
use crate::denial::words::meaning;
use crate::records::line::Record;
use crate::records::reading::Found;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Table,
    Json,
}

/// Characters of a key's id and title.
const KEY_WIDTH: usize = 28;

/// Stdout, and what is held back for `--limit`.
pub(super) struct Output<'p> {
    place: &'p Place,
    format: Format,
    /// The last rows, while it is not known that they are the last; with how many are wanted.
    last: Option<(usize, VecDeque<String>)>,
    out: BufWriter<StdoutLock<'static>>,
}

impl<'p> Output<'p> {
    pub(super) fn new(place: &'p Place, format: Format, limit: Option<u32>) -> Self {
        let last = limit.map(|limit| (usize::try_from(limit).unwrap_or(usize::MAX), VecDeque::new()));
        Self { place, format, last, out: BufWriter::new(std::io::stdout().lock()) }
    }

    pub(super) fn head(&mut self) -> std::io::Result<()> {
        if self.format == Format::Table {
            let head = columns("TIME", "CLIENT", "KEY", "METHOD", "STATUS");
            writeln!(self.out, "{head} PATH")?;
        }
        Ok(())
    }

    pub(super) fn show(&mut self, found: &Found<'_>) -> std::io::Result<()> {
        let row = match self.format {
            Format::Json => json_plain(&String::from_utf8_lossy(found.line)),
            Format::Table => self.row(&found.record),
        };
        match &mut self.last {
            None => writeln!(self.out, "{row}"),
            Some((limit, rows)) => {
                if rows.len() >= *limit {
                    rows.pop_front();
                }
                rows.push_back(row);
                Ok(())
            }
        }
    }

    /// Shows what was held back; what comes after it is shown at once.
    pub(super) fn finish(&mut self) -> std::io::Result<()> {
        for row in self.last.take().map(|(_, rows)| rows).unwrap_or_default() {
            writeln!(self.out, "{row}")?;
        }
        self.flush()
    }

    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }

    fn row(&self, record: &Record<'_>) -> String {
        let key = match record.key {
            None => "-".to_owned(),
            Some(id) => match self.place.key(id) {
                None => plain(id),
                Some(key) => short(&format!("{} {}", plain(id), plain(key.title.as_str())), KEY_WIDTH),
            },
        };
        let status = record.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        let mut row =
            columns(&record.time.rfc3339(), &plain(record.client), &key, &plain(record.method), &status);
        row.push(' ');
        row.push_str(&plain(&record.path));
        for remark in remarks(record) {
            row.push_str("  ");
            row.push_str(&remark);
        }
        row
    }
}

/// What is to be said beyond the columns, the refusal first.
fn remarks(record: &Record<'_>) -> impl Iterator<Item = String> {
    let refused = record
        .reason
        .map(|reason| format!("refused: {} [{}]", plain(&meaning(reason, record.detail)), plain(reason)));
    let observed = record
        .observed
        .map(|reason| format!("would be refused: {} [{}]", plain(&meaning(reason, None)), plain(reason)));
    let delivery = record.delivery.map(|word| {
        let words = match word {
            "duplicate" => "the CRM has this delivery already",
            "handshake" => "a handshake, answered here",
            "withheld" => "kept from the CRM by the rules about senders",
            other => return plain(other),
        };
        words.to_owned()
    });
    let sender =
        record.sender.filter(|word| *word != "expected").map(|word| format!("{} sender", plain(word)));
    let hours = record.hours.filter(|word| *word == "out").map(|_| "out of hours".to_owned());
    let ending = match record.end {
        "" | "complete" => None,
        "client_gone" => Some("the client left".to_owned()),
        "upstream_broke" => Some("the CRM's answer broke off".to_owned()),
        "drained" => Some("ended because the gateway stopped".to_owned()),
        "key_over" => Some("cut off with its key".to_owned()),
        other => Some(plain(other)),
    };
    let sampled = record.sampled.map(|count| format!("(one of {count})"));
    [refused, observed, delivery, sender, hours, ending, sampled].into_iter().flatten()
}

fn columns(time: &str, client: &str, key: &str, method: &str, status: &str) -> String {
    format!("{time:<20} {client:<15} {key:<KEY_WIDTH$} {method:<6} {status:<6}")
}
