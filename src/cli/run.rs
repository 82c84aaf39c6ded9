//! `sidelock run`: the gateway itself.

use std::path::Path;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::{Failure, show, tally};
use crate::clock::Clock;
use crate::config::environment::Environment;
use crate::config::load::load_still;
use crate::server::{Origin, Sidelock, outlive_early_signals};

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {}

pub(super) fn run(path: &Path, Opts {}: &Opts) -> Result<(), Failure> {
    start_log("info");
    outlive_early_signals()?;
    let environment = Environment::Process;
    let mut origin = Origin::find(&environment).map_err(|error| {
        Failure::Failed(format!("not started: the sockets that were to be taken over: {error}"))
    })?;
    let prepared =
        prepare(path, environment, &mut origin).inspect_err(|why| origin.give_up(&why.to_string()))?;
    for address in &prepared.listening {
        tracing::info!(%address, "listening");
    }
    tracing::info!(address = %prepared.admin, "metrics, health and readiness");
    prepared.run().map_err(|error| Failure::Failed(error.to_string()))
}

fn prepare(path: &Path, environment: Environment, origin: &mut Origin) -> Result<Sidelock, Failure> {
    let (mut loading, fingerprint) = load_still(path, &environment, &[]);
    show(&loading);
    let Some(loaded) = loading.loaded.take() else {
        return Err(Failure::Mistakes(format!("not started: {}", tally(&loading))));
    };
    tracing::info!(
        keys = loaded.keys.keys.len(),
        scopes = loaded.config.scopes.names().len(),
        webhooks = loaded.config.webhooks.len(),
        crm = %loaded.config.upstream.place(),
        "loaded"
    );
    let seen = (fingerprint, loading.files(&[]));
    Sidelock::prepare(path, environment, loaded, seen, origin, &Clock::system())
        .map_err(|error| Failure::Failed(format!("not started: {error}")))
}

/// Starts the diagnostics log on stderr. `SIDELOCK_LOG` sets levels, as in `info,pingora_core=debug`.
pub(super) fn start_log(usual: &str) {
    let asked = Environment::Process.get("SIDELOCK_LOG").unwrap_or_else(|| usual.to_owned());
    let targets: Targets =
        asked.parse().unwrap_or_else(|_| Targets::new().with_default(tracing::Level::INFO));
    // pingora tells every step of its own start at `info`.
    let targets = if asked.contains("pingora") {
        targets
    } else {
        targets.with_target("pingora_core", tracing::Level::WARN)
    };
    // What a hostile client does must not fill the log.
    let targets = targets.with_target("h2", tracing::Level::ERROR);
    // The watcher of files would tell of the log itself being written, for ever.
    let targets = targets.with_target("notify", tracing::Level::WARN);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    drop(tracing_subscriber::registry().with(targets).with(layer).try_init());
}
