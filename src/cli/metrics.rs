//! `sidelock metrics`: the catalogue, without a configuration and without a gateway.

use std::io::Write;

use serde_json::json;

use super::Failure;
use crate::metrics::catalogue::{ALL, Family};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if opts.json {
        let metrics: Vec<_> = ALL.iter().map(as_json).collect();
        writeln!(out, "{}", json!({ "metrics": metrics }))?;
    } else {
        for family in ALL {
            let labels = if family.labels.is_empty() {
                String::new()
            } else {
                format!("{{{}}}", family.labels.join(","))
            };
            writeln!(out, "{}{labels}  {}, {}", family.name, family.kind.word(), family.unit.word())?;
            writeln!(out, "    {}", family.help)?;
            writeln!(out, "    there from: {}", family.since)?;
        }
    }
    Ok(out.flush()?)
}

fn as_json(family: &Family) -> serde_json::Value {
    json!({
        "name": family.name,
        "type": family.kind.word(),
        "labels": family.labels,
        "unit": family.unit.word(),
        "help": family.help,
        "since": family.since,
    })
}
