//! `sidelock webhook verify`: tells why captured deliveries are believed or not, with the engine of the gateway.

mod described;
mod input;
mod vector;

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::terminal::json_plain;
use super::{Failure, show, tally};
use crate::clock::WallTime;
use crate::config::environment::Environment;
use crate::config::load::load;
use crate::credential::webhook::Sender;

/// What was typed.
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Opts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Tell why captured deliveries are believed or not: a verdict a line, as JSON
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// Deliveries as JSON, one a line or in a list called 'vectors'; '-' for stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,
    /// The time to judge at, as Unix seconds or RFC 3339, in place of each delivery's own
    #[arg(long, value_name = "TIME", value_parser = moment)]
    now: Option<WallTime>,
    /// A webhook of the configuration, in place of the senders and secrets in the file. Only the proof is judged: not
    /// addresses, methods, paths and sizes, and not whether it was seen before
    #[arg(long, value_name = "NAME")]
    webhook: Option<String>,
}

pub(super) fn run(
    path: &dyn Fn() -> PathBuf,
    Opts { verb: Verb::Verify(verify) }: &Opts,
) -> Result<(), Failure> {
    let configured = match &verify.webhook {
        Some(name) => Some(configured(&path(), name)?),
        None => None,
    };
    let mut input = input::open(&verify.file)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let unreadable = judge(&mut input, configured.as_deref(), verify.now, &mut out)?;
    out.flush()?;
    match unreadable {
        0 => Ok(()),
        1 => Err(Failure::Failed("1 delivery could not be read".to_owned())),
        count => Err(Failure::Failed(format!("{count} deliveries could not be read"))),
    }
}

/// Writes a verdict a line for every delivery in `input`, by `configured` or by the sender that the delivery names, at `now`
/// or at the delivery's own time. Gives the number of those that could not be read.
///
/// # Errors
/// Those of `input` and `out`.
pub fn judge(
    input: &mut dyn BufRead,
    configured: Option<&Sender>,
    now: Option<WallTime>,
    out: &mut dyn Write,
) -> std::io::Result<usize> {
    let mut unreadable = 0_usize;
    input::each(input, &mut |delivery| {
        let verdict = delivery.and_then(|delivery| vector::verdict(&delivery, configured, now));
        let line = verdict.unwrap_or_else(|error| {
            unreadable += 1;
            json!({ "id": error.id, "verdict": "reject", "reason": "unreadable", "error": error.message })
        });
        writeln!(out, "{}", json_plain(&line.to_string()))
    })?;
    Ok(unreadable)
}

/// Why there is no real verdict on one entry.
#[derive(Debug)]
struct Unreadable {
    id: Value,
    message: String,
}

impl Unreadable {
    fn new(message: impl Into<String>) -> Self {
        Self { id: Value::Null, message: message.into() }
    }
}

/// The sender of a webhook in the configuration, with its secrets.
fn configured(path: &Path, name: &str) -> Result<Arc<Sender>, Failure> {
    let loading = load(path, &Environment::Process);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(tally(&loading)));
    };
    let webhooks = &loaded.config.webhooks;
    let found = webhooks.iter().find(|webhook| *webhook.name == *name);
    found.map(|webhook| Arc::clone(&webhook.sender)).ok_or_else(|| {
        let known: Vec<&str> = webhooks.iter().map(|webhook| &*webhook.name).collect();
        Failure::Failed(format!("no webhook is called '{name}'; known: {}", known.join(", ")))
    })
}

fn moment(text: &str) -> Result<WallTime, String> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(WallTime::from_unix_secs(seconds));
    }
    let stamp = text.parse::<jiff::Timestamp>();
    stamp
        .map(|stamp| WallTime::from_unix_millis(stamp.as_millisecond()))
        .map_err(|_| "expected Unix seconds, or a time such as 2026-11-22T10:00:00Z".to_owned())
}
