//! `sidelock explain --request-id`: a past request out of the access log, and what the files of today say to it.

use std::io::Write;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;

use http::Method;
use serde_json::{Value, json};

use super::super::Failure;
use super::super::place::Place;
use super::super::terminal::{json_plain, plain};
use super::{Explanation, court};
use crate::clock::WallTime;
use crate::denial::{Denial, words};
use crate::keys::key::KeyId;
use crate::records::line::Record;
use crate::records::reading::{Found, Query};
use crate::trial::court::{Asker, Court, Question, Shown};

/// What no line of the log has.
const NOT_HELD: &str =
    "the query, the headers (the key among them), the client certificate and the body are not in the log";

pub(super) fn run(
    path: &Path,
    id: &str,
    file: Option<&Path>,
    now: WallTime,
    as_json: bool,
) -> Result<(), Failure> {
    let place = Place::find(path, file)?;
    let court = court(&place.config, &place.keys)?;
    let mut told = None;
    let query = Query::new(None, None).holding(&format!("\"{id}\""));
    place.read(&query, &mut |Found { record, line }| {
        if record.id != id {
            return ControlFlow::Continue(());
        }
        told = Some(tell(&court, &record, line, now, as_json));
        ControlFlow::Break(())
    })?;
    match told {
        Some(told) => Ok(std::io::stdout().write_all(&told?)?),
        None => Err(Failure::Failed(format!("no request in the access log has the id '{}'", plain(id)))),
    }
}

fn tell(
    court: &Court,
    record: &Record<'_>,
    line: &[u8],
    now: WallTime,
    as_json: bool,
) -> std::io::Result<Vec<u8>> {
    let asked = Asked::of(record);
    let (then, today) = match &asked {
        Ok(asked) => (
            Some(Explanation::of(court, &asked.question(record, record.time)).outcome()),
            Some(asked.question(record, now)),
        ),
        Err(_) => (None, None),
    };
    let today = today.as_ref().map(|question| Explanation::of(court, question));
    let why_not = asked.as_ref().err().copied();
    let mut out = Vec::new();
    if as_json {
        let value = json!({
            "record": serde_json::from_slice::<Value>(line)?,
            "then": then,
            "now": today.map(|it| it.json()),
            "not_asked": why_not,
            "not_in_the_log": NOT_HELD,
        });
        writeln!(out, "{}", json_plain(&value.to_string()))?;
        return Ok(out);
    }
    recorded(record, &mut out)?;
    match (today, why_not) {
        (Some(today), _) => {
            writeln!(out, "\nWith the files of today:\n")?;
            today.text(&mut out)?;
            if let Some(then) = then.filter(|then| *then != today.outcome()) {
                writeln!(out, "  - with the same files at the time of the request: {}", plain(&then))?;
            }
        }
        (None, why) => writeln!(out, "\nIt cannot be asked again: {}", why.unwrap_or_default())?,
    }
    writeln!(out, "  - {NOT_HELD}")?;
    Ok(out)
}

fn recorded(record: &Record<'_>, out: &mut Vec<u8>) -> std::io::Result<()> {
    let who =
        record.key.map_or_else(|| "without a known key".to_owned(), |id| format!("with key {}", plain(id)));
    let [method, path, client, route, end] =
        [record.method, record.path.as_ref(), record.client, record.route, record.end].map(plain);
    writeln!(out, "{method} {path} {who} from {client} at {}", record.time.rfc3339())?;
    let status = record.status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
    write!(out, "was answered: {status}, route {route}, {end}")?;
    if let Some(scope) = record.scope {
        write!(out, ", by the scope {}", plain(scope))?;
    }
    if let Some(reason) = record.reason {
        let meaning = words::meaning(reason, record.detail);
        write!(out, ", refused as {}: {}", plain(reason), plain(&meaning))?;
    }
    if let Some(observed) = record.observed {
        write!(out, ", passed as observed: {}", plain(observed))?;
    }
    writeln!(out)
}

/// A past request, as far as it can be asked again.
struct Asked {
    method: Method,
    from: IpAddr,
    key: Option<KeyId>,
}

impl Asked {
    fn of(record: &Record<'_>) -> Result<Self, &'static str> {
        if record.path == "[hidden]" {
            return Err("its path could hold a credential and is not in the log");
        }
        let unread = "its line is not as this version writes them";
        let key = record.key.map(|id| KeyId::new(id).ok_or(unread)).transpose()?;
        let method = record.method.parse().map_err(|_| unread)?;
        Ok(Self { method, from: record.client.parse().map_err(|_| unread)?, key })
    }

    fn question<'q>(&'q self, record: &'q Record<'_>, at: WallTime) -> Question<'q> {
        let asker = match (&self.key, record.reason) {
            (Some(id), _) => Asker::Key(id),
            (None, Some("unknown" | "malformed")) => Asker::Unknown,
            (None, _) => Asker::Stranger,
        };
        let lacked = record.reason == Some(Denial::CertificateNotShown.reason());
        let shown = if lacked { Shown::Nothing } else { Shown::AsNeeded };
        let target = &record.path;
        Question { method: &self.method, target, asker, from: self.from, shown, at, body: None }
    }
}
