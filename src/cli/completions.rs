//! `sidelock completions`: what a shell needs to complete verbs and options.

use std::io::Write;

use clap::CommandFactory;

use super::{Cli, Failure};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(opts: &Opts) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(opts.shell, &mut Cli::command(), "sidelock", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
