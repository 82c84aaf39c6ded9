//! `sidelock upgrade`: the running process hands over to a new one, and tells what came of it.

use std::path::Path;
use std::time::Duration;

use super::asking::Process;
use super::{Failure, say};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Beyond the time that the new process may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The old process goes on for certain only if it said so itself.
fn told_or_not(why: Failure) -> Failure {
    if let Failure::Refused(why) = why {
        return Failure::Refused(format!("no upgrade, the old process goes on: {why}"));
    }
    Failure::Failed(format!("it is not known what came of the upgrade: {why}"))
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let process = Process::find(path)?;
    let patience = process.config.timeouts.upgrade.saturating_add(PATIENCE);
    let told = process.ask_patiently("POST", "/upgrade", patience).map_err(told_or_not)?;
    if opts.json {
        use std::io::Write;
        writeln!(std::io::stdout(), "{told}")?;
    } else {
        let pid = told.get("pid").and_then(serde_json::Value::as_u64).unwrap_or_default();
        say(&format!("upgraded: process {pid} runs; the old one ends when its last request has"));
    }
    Ok(())
}
