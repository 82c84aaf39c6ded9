//! The command line: a file per verb, each with its `Opts` and `run`. Data on stdout, talk on stderr; only here an exit
//! code is chosen.
//!
//! Exit codes: 0 done; 1 it did not work; 2 wrong usage, or files with mistakes; 3 `check --strict` found warnings,
//! or requests that would be judged otherwise.

mod addresses;
mod asking;
mod bans;
mod check;
mod completions;
mod demo;
mod explain;
mod healthcheck;
mod init;
mod keys;
mod log;
mod man;
mod metrics;
mod moment;
mod new_file;
mod place;
mod reload;
mod report;
mod run;
mod telegram;
mod terminal;
mod upgrade;
pub mod webhook;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use terminal::plain;

use crate::config::environment::Environment;
use crate::config::load::Loading;
use crate::config::source::Severity;

/// A lock for the CRM you already have.
#[derive(Debug, Parser)]
#[command(name = "sidelock", version, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    /// The configuration; without it `$SIDELOCK_CONFIG`, `./sidelock.toml`, then `/etc/sidelock/sidelock.toml`
    #[arg(long, short, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Try everything in a minute: a small CRM, the gateway, two keys and a webhook
    Demo(demo::Opts),
    /// Begin: a configuration with every setting explained (--config, or ./sidelock.toml), and an empty key file
    Init(init::Opts),
    /// Stand in front of the CRM until SIGTERM
    Run(run::Opts),
    /// Show every mistake in the configuration and the key file
    Check(check::Opts),
    /// Tell step by step what would become of a request, and what would have to change
    Explain(Box<explain::Opts>),
    /// Make the running process look at its files now, and say what came of it
    Reload(reload::Opts),
    /// Replace the running process by a new one, without losing a connection
    Upgrade(upgrade::Opts),
    /// Make, list, change, rotate, revoke, import and prune keys
    Keys(Box<keys::Opts>),
    /// Show from where credentials were refused
    Addresses(addresses::Opts),
    /// Show, make and lift bans of addresses
    Bans(bans::Opts),
    /// Show what was asked, by whom, and why it was refused; or who changed which key
    Log(Box<log::Opts>),
    /// Review the last week's keys and webhooks; or what was done with a key that leaked
    Report(report::Opts),
    /// List every metric: name, kind, labels, meaning
    Metrics(metrics::Opts),
    /// Set a bot's webhook at Telegram, and ask how it fares
    Telegram(telegram::Opts),
    /// Look into captured webhook deliveries
    Webhook(webhook::Opts),
    /// Ask the running process whether it is well and takes work
    Healthcheck(healthcheck::Opts),
    /// Print what a shell needs to complete verbs and options
    Completions(completions::Opts),
    /// Print the manual page, or write one for each verb
    Man(man::Opts),
}

/// Why a verb ended without success.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It did not work.
    #[error("{0}")]
    Failed(String),
    /// The process answered that it will not, and why.
    #[error("{0}")]
    Refused(String),
    /// The files have mistakes, which were shown.
    #[error("{0}")]
    Mistakes(String),
    /// `check --strict` found warnings, which were shown.
    #[error("{0}")]
    Warnings(String),
    /// Nobody reads the output any more.
    #[error("{0}")]
    Output(#[from] std::io::Error),
}

impl Failure {
    /// `sidelock … | head` is no failure.
    fn is_worth_a_word(&self) -> bool {
        !matches!(self, Self::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }

    fn code(&self) -> ExitCode {
        match self {
            Self::Failed(_) | Self::Refused(_) => ExitCode::from(1),
            Self::Mistakes(_) => ExitCode::from(2),
            Self::Warnings(_) => ExitCode::from(3),
            Self::Output(_) if !self.is_worth_a_word() => ExitCode::SUCCESS,
            Self::Output(_) => ExitCode::from(1),
        }
    }
}

/// Runs the verb that was typed.
pub fn main() -> ExitCode {
    let Cli { config, verb } = Cli::parse();
    let done = match verb {
        Verb::Demo(opts) => demo::run(&opts),
        Verb::Init(opts) => init::run(&begin(config), &opts),
        Verb::Run(opts) => run::run(&find(config), &opts),
        Verb::Check(opts) => check::run(&find(config), &opts),
        Verb::Reload(opts) => reload::run(&find(config), &opts),
        Verb::Upgrade(opts) => upgrade::run(&find(config), &opts),
        Verb::Explain(opts) => explain::run(&find(config), &opts),
        Verb::Keys(opts) => keys::run(&find(config), *opts),
        Verb::Telegram(opts) => telegram::run(&find(config), &opts),
        Verb::Webhook(opts) => webhook::run(&|| find(config.clone()), &opts),
        Verb::Addresses(opts) => addresses::run(&find(config), &opts),
        Verb::Bans(opts) => bans::run(&find(config), &opts),
        Verb::Metrics(opts) => metrics::run(&opts),
        Verb::Log(opts) => log::run(&find(config), &opts),
        Verb::Report(opts) => report::run(&find(config), &opts),
        Verb::Healthcheck(opts) => healthcheck::run(&find(config), &opts),
        Verb::Completions(opts) => completions::run(&opts),
        Verb::Man(opts) => man::run(&opts),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.is_worth_a_word() {
                say(&format!("sidelock: {failure}"));
            }
            failure.code()
        }
    }
}

/// The configuration file, by option, environment and custom.
fn find(typed: Option<PathBuf>) -> PathBuf {
    let system = PathBuf::from("/etc/sidelock/sidelock.toml");
    let here = PathBuf::from(HERE);
    named(typed).unwrap_or_else(|| if !here.exists() && system.exists() { system } else { here })
}

/// Where a configuration is made: here, unless a place is named.
fn begin(typed: Option<PathBuf>) -> PathBuf {
    named(typed).unwrap_or_else(|| PathBuf::from(HERE))
}

const HERE: &str = "sidelock.toml";

fn named(typed: Option<PathBuf>) -> Option<PathBuf> {
    typed.or_else(|| {
        Environment::Process.get("SIDELOCK_CONFIG").filter(|it| !it.is_empty()).map(PathBuf::from)
    })
}

/// Talk, on stderr; paths and other people's words in it steer no terminal. Whether anyone listens does not matter.
fn say(text: &str) {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    drop(writeln!(std::io::stderr(), "{}", lines.join("\n")));
}

/// Shows mistakes and warnings on stderr, in colour on a terminal that wants it.
fn show(loading: &Loading) {
    let plain =
        ["NO_COLOR"].iter().any(|name| Environment::Process.get(name).is_some_and(|value| !value.is_empty()))
            || Environment::Process.get("TERM").is_some_and(|term| term == "dumb");
    let colour = std::io::stderr().is_terminal() && !plain;
    let text = loading.report.render(&loading.sources, colour);
    drop(write!(std::io::stderr(), "{text}"));
}

/// `2 errors and 1 warning`.
fn tally(loading: &Loading) -> String {
    let count = |severity, one: &str| {
        let count = loading.report.count(severity);
        format!("{count} {one}{}", if count == 1 { "" } else { "s" })
    };
    format!("{} and {}", count(Severity::Error, "error"), count(Severity::Warning, "warning"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds() {
        super::Cli::command().debug_assert();
    }
}
