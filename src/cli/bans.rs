//! `sidelock bans`: which addresses may not use keys for a while; bans made and lifted.

use std::io::Write;
use std::path::Path;

use super::asking::{Process, table};
use super::{Failure, say};
use crate::client_addr::AddrGroup;
use crate::config::units::Span;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Show the bans that are in force
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// End a ban now
    Lift {
        /// The address; of an IPv6 address, its /64
        address: AddrGroup,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Ban an address, in place of a ban that it may have; a restart forgets it
    Add {
        /// The address; of an IPv6 address, its /64
        address: AddrGroup,
        /// How long, at most 366d
        #[arg(long = "for", value_name = "TIME", default_value = "1h")]
        lasts: Span,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let (method, target, json) = match &opts.verb {
        Verb::List { json } => ("GET", "/bans".to_owned(), json),
        Verb::Lift { address, json } => ("DELETE", format!("/bans?address={address}"), json),
        Verb::Add { address, lasts, json } => ("POST", format!("/bans?address={address}&for={lasts}"), json),
    };
    let process = Process::find(path)?;
    if let Verb::Add { address, .. } = &opts.verb
        && process.config.never_banned().contains(address.ip())
    {
        return Err(Failure::Failed(format!("{address} is exempt from bans in this configuration")));
    }
    let told = process.ask(method, &target)?;
    let mut out = std::io::stdout().lock();
    if *json {
        return Ok(writeln!(out, "{told}")?);
    }
    match &opts.verb {
        Verb::Lift { address, .. } => say(&format!("{address} may use keys again")),
        Verb::Add { address, lasts, .. } => say(&format!("{address} may not use keys for {lasts}")),
        Verb::List { .. } => {
            let columns =
                [("ADDRESS", "address"), ("SINCE", "since"), ("UNTIL", "until"), ("CAUSE", "cause")];
            for line in table(told.get("bans"), &columns) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(())
}
