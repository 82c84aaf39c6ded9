//! `sidelock check`: every mistake of both files at once, and what they would change for the requests of the past.

mod replay;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::moment::When;
use super::terminal::json_plain;
use super::{Failure, say, show, tally};
use crate::clock::{Clock, WallTime};
use crate::config::environment::Environment;
use crate::config::load::{Loaded, Loading, load_with};
use crate::config::source::{Lines, Severity};

/// A certificate that ends within this is worth a warning, as a key is.
const ENDING: Duration = Duration::from_secs(14 * 86_400);

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Exit with 3 if there are warnings, or requests that would be judged otherwise
    #[arg(long)]
    strict: bool,
    /// Ask both files about the requests of the access log since then (72h, 7d, a moment, all), and list who would be newly refused
    /// or allowed
    #[arg(long, value_name = "WHEN")]
    replay: Option<When>,
    /// Another key file than the configured one
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Another log than the configured one, with its rotated files; - for stdin
    #[arg(long, value_name = "FILE", requires = "replay")]
    file: Option<PathBuf>,
    /// Print JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let mut loading = load_with(path, &Environment::Process, opts.keys.as_deref());
    let now = Clock::system().wall();
    ended_secrets(path, &mut loading, now);
    ending_certificates(&mut loading, now);
    let errors = loading.report.count(Severity::Error);
    let loaded = loading.loaded.as_ref().filter(|_| errors == 0);
    let replayed = match (opts.replay, loaded) {
        (Some(since), Some(loaded)) => Some(replay::run((path, opts.file.as_deref()), since, loaded)?),
        (Some(_) | None, _) => None,
    };
    if opts.json {
        let mut value = as_json(&loading);
        if let (Some(object), Some(replayed)) = (value.as_object_mut(), &replayed) {
            object.insert("replay".to_owned(), replayed.json());
        }
        writeln!(std::io::stdout(), "{}", json_plain(&value.to_string()))?;
    } else {
        show(&loading);
        if let Some(replayed) = &replayed {
            replayed.print()?;
        }
    }
    let warnings = loading.report.count(Severity::Warning);
    match loaded {
        Some(loaded) => {
            let keys = loaded.keys.keys.len();
            let config = &loaded.config;
            let of =
                |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            say(&format!(
                "{}: good ({}, {}, {}, {}; {})",
                path.display(),
                of(keys, "key"),
                of(config.scopes.names().len(), "scope"),
                of(config.webhooks.len(), "webhook"),
                of(config.routes.len(), "route"),
                of(warnings, "warning"),
            ));
            match replayed.map_or(0, |replayed| replayed.changed()) {
                _ if opts.strict && warnings > 0 => Err(Failure::Warnings(tally(&loading))),
                0 => Ok(()),
                changed if opts.strict => {
                    Err(Failure::Warnings(format!("{changed} requests would be judged otherwise")))
                }
                _ => Ok(()),
            }
        }
        None => Err(Failure::Mistakes(tally(&loading))),
    }
}

/// Reading is the same whenever it is done; that a webhook's last secret has ended is not.
fn ended_secrets(path: &Path, loading: &mut Loading, now: WallTime) {
    let webhooks = loading.loaded.iter().flat_map(|loaded| &loaded.config.webhooks);
    for webhook in webhooks.filter(|webhook| webhook.sender.lasting_secret(now).is_none()) {
        let message = format!("the webhook '{}' refuses everything: its secrets have ended", webhook.name);
        loading.report.file_warning(path, message, Some("give it another one, or a later 'until'"));
    }
}

fn as_json(loading: &Loading) -> serde_json::Value {
    let lines: Vec<Lines> = loading.sources.iter().map(|source| Lines::of(&source.text)).collect();
    let mistakes = loading.report.mistakes().iter().map(|mistake| {
        let mut sources = loading.sources.iter().zip(&lines);
        let lines = sources.find(|(source, _)| source.path == mistake.path).map(|(_, lines)| lines);
        let line = mistake.span.as_ref().zip(lines).map(|(span, lines)| lines.number(span.start));
        serde_json::json!({
            "file": mistake.path.display().to_string(),
            "line": line,
            "severity": match mistake.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            "message": mistake.message,
            "help": mistake.help,
        })
    });
    serde_json::json!({ "ok": !loading.report.has_errors(), "mistakes": mistakes.collect::<Vec<_>>() })
}

/// Likewise that a certificate of ours ends.
fn ending_certificates(loading: &mut Loading, now: WallTime) {
    let soon = now.after(ENDING);
    let shown = loading.loaded.iter().flat_map(|Loaded { config, .. }| {
        let listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        listeners.flat_map(|tls| &tls.identities).chain(&config.upstream.identity)
    });
    for identity in shown.filter(|identity| identity.expires() < soon) {
        let end = identity.expires();
        let is = if end < now { "ended" } else { "ends" };
        let help = "put a new one, with its key, in its place: it is taken without a restart";
        loading.report.file_warning(
            &identity.file,
            format!("the certificate {is} at {}", end.rfc3339()),
            Some(help),
        );
    }
}
