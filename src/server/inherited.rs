//! Listening sockets that were opened before this process: by the one that it replaces, or by systemd.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;

use super::handover::words::{At, Owner, Role, Spot};
use crate::config::Place;

/// Sockets that nobody has claimed yet.
#[derive(Debug, Default)]
pub(super) struct Inherited(Vec<Given>);

/// One of them.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) spot: Spot,
    pub(super) socket: OwnedFd,
}

impl Inherited {
    pub(super) const fn new(given: Vec<Given>) -> Self {
        Self(given)
    }

    /// The socket that listens at `place`, if one does. Where any port would do, it is the first that was opened so for the same.
    pub(super) fn take(&mut self, place: &Place, role: Role) -> Option<Given> {
        let at = At::from(place);
        let fits = |Given { spot, .. }: &Given| spot.bound == at || spot.asked == at && spot.role == role;
        let found = self.0.iter().position(fits)?;
        // A socket whose file is gone is reached by nobody.
        let is_there = match place {
            Place::Address(_) => true,
            Place::Socket { path, .. } => {
                std::fs::symlink_metadata(path).is_ok_and(|it| it.file_type().is_socket())
            }
        };
        is_there.then(|| self.0.remove(found))
    }

    /// What a supervisor lent for none of `places`.
    pub(super) fn unnamed(&self, places: &[Place]) -> Vec<String> {
        let named: Vec<At> = places.iter().map(At::from).collect();
        let lent = self.0.iter().filter(|given| given.spot.owner == Owner::Supervisor);
        lent.filter(|it| !named.contains(&it.spot.bound)).map(|it| it.spot.bound.to_string()).collect()
    }

    /// Closes what nobody claimed: a socket that nobody accepts from would swallow connections.
    pub(super) fn close_rest(self) {
        for Given { spot, socket } in self.0 {
            drop(socket);
            if spot.owner == Owner::Supervisor {
                tracing::warn!(at = %spot.bound, "the supervisor lent a socket that no listener names: closed");
            } else {
                tracing::info!(at = %spot.bound, "a listener is no longer wanted: closed");
            }
        }
    }
}
