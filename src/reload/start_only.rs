//! What a reload cannot change.

use crate::config::{self, Config};

/// The parts of a configuration that a reload cannot change.
#[derive(Debug, PartialEq)]
pub(super) struct StartOnly {
    pub(super) server: config::Server,
    places: Vec<config::Place>,
    limits: [usize; 4],
    access_log: config::AccessLog,
}

impl StartOnly {
    pub(super) fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            server: config.server.clone(),
            places: config.listeners.iter().map(|listener| listener.place.clone()).collect(),
            limits: [limits.head, limits.fields, limits.connections, limits.connections_per_address],
            access_log: config.access_log.clone(),
        }
    }

    /// Warns of each part that the new configuration has otherwise.
    pub(super) fn tell_what_must_wait(&self, config: &Config) {
        let new = Self::of(config);
        for (section, changed) in [
            ("[server]", self.server != new.server),
            ("the listeners' addresses", self.places != new.places),
            ("[limits] head, fields, connections or connections_per_address", self.limits != new.limits),
            ("[access_log]", self.access_log != new.access_log),
        ] {
            if changed {
                tracing::warn!(
                    section,
                    "changed, but cannot change live: it takes effect at the next restart"
                );
            }
        }
    }
}
