//! `sidelock check`: every mistake of both files at once.

use std::io::Write;
use std::path::Path;

use super::{Failure, say, show, tally};
use crate::clock::{Clock, WallTime};
use crate::config::environment::Environment;
use crate::config::load::{Loading, load};
use crate::config::source::{Lines, Severity};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Exit with 3 if there are warnings
    #[arg(long)]
    strict: bool,
    /// Print the mistakes as JSON on stdout
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let mut loading = load(path, &Environment::Process);
    ended_secrets(path, &mut loading, Clock::system().wall());
    if opts.json {
        writeln!(std::io::stdout(), "{}", as_json(&loading))?;
    } else {
        show(&loading);
    }
    let (errors, warnings) = (loading.report.count(Severity::Error), loading.report.count(Severity::Warning));
    match &loading.loaded {
        Some(loaded) if errors == 0 => {
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
            if opts.strict && warnings > 0 { Err(Failure::Warnings(tally(&loading))) } else { Ok(()) }
        }
        Some(_) | None => Err(Failure::Mistakes(tally(&loading))),
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
