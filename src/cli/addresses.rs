//! `sidelock addresses`: from where credentials were refused.

use std::io::Write;
use std::path::Path;

use super::Failure;
use super::asking::{Process, table};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let told = Process::find(path)?.ask("GET", "/addresses")?;
    let mut out = std::io::stdout().lock();
    if opts.json {
        return Ok(writeln!(out, "{told}")?);
    }
    let columns = [
        ("ADDRESS", "address"),
        ("REFUSED", "refused"),
        ("FIRST", "first_seen"),
        ("LAST", "last_seen"),
        ("BANNED UNTIL", "banned_until"),
    ];
    for line in table(told.get("addresses"), &columns) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}
