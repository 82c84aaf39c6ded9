//! `sidelock log --changes`: who changed which key when, and whether the record of it is whole.

use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::super::terminal::{json_plain, plain};
use super::super::{Failure, say, show, tally};
use crate::changes::verify::{self, Reading};
use crate::config::environment::Environment;
use crate::config::load::load;

pub(super) fn run(path: &Path, verify: bool, as_json: bool) -> Result<(), Failure> {
    let loading = load(path, &Environment::Unread);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(tally(&loading)));
    };
    let reading = verify::read(&loaded.config.server.state_dir)
        .map_err(|error| Failure::Failed(format!("the change record cannot be read: {error}")))?;
    if verify { verified(&reading, as_json) } else { listed(&reading, as_json) }
}

fn verified(reading: &Reading, as_json: bool) -> Result<(), Failure> {
    let count = reading.lines.len();
    let findings: Vec<String> = reading.findings.iter().map(ToString::to_string).collect();
    if as_json {
        let value = json!({ "ok": findings.is_empty(), "lines": count, "findings": findings });
        writeln!(std::io::stdout(), "{}", json_plain(&value.to_string()))?;
    } else {
        findings.iter().for_each(|finding| say(finding));
    }
    if findings.is_empty() {
        say(&format!("the change record is whole: {count} lines"));
        Ok(())
    } else {
        Err(Failure::Failed("the change record is not what was written".to_owned()))
    }
}

fn listed(reading: &Reading, as_json: bool) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if as_json {
        writeln!(out, "{}", json_plain(&json!({ "changes": reading.lines }).to_string()))?;
    } else {
        for line in &reading.lines {
            writeln!(out, "{}", sentence(line))?;
        }
    }
    out.flush()?;
    if !reading.findings.is_empty() {
        say("this record is not what was written; 'sidelock log --changes --verify' says more");
    }
    Ok(())
}

/// `2026-11-22T10:00:00Z  anna  rotate  7Qm2xR9k  digest: "sha256:9f…" -> "sha256:31…"`.
fn sentence(line: &Value) -> String {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map_or_else(|| "-".to_owned(), plain);
    let who = line.get("who");
    let part = |name: &str| who.and_then(|who| who.get(name)).and_then(Value::as_str);
    let mut by = part("login").map_or_else(|| "-".to_owned(), plain);
    if let Some(user) = part("sudo_user") {
        by = format!("{} as {by}", plain(user));
    }
    let fields = line.get("fields").and_then(Value::as_object);
    let fields: Vec<String> = fields
        .into_iter()
        .flatten()
        .map(|(name, change)| {
            format!("{}: {} -> {}", plain(name), text(change.get("from")), text(change.get("to")))
        })
        .collect();
    let [when, verb, key] = ["when", "verb", "key"].map(|name| text(line.get(name)));
    format!("{when}  {by}  {verb}  {key}  {}", fields.join("; "))
}
