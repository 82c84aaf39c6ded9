//! All that one process listens on.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::StartError;
use super::bound::Bound;
use super::handover::giving::Giver;
use super::handover::words::Role;
use super::listening::{Accepting, Watched};
use super::origin::Origin;
use super::stop::Switches;
use crate::admin::{self, Admin};
use crate::config::{Listener, Place, Server, Timeouts};
use crate::proxy::Proxy;
use crate::proxy::connection;
use crate::vitals::Vitals;

/// Who says a word when it is up: the services that listen, for clients and for the admin, and who looks at the files, for
/// a SIGHUP before that would be lost.
pub(super) const AWAITED: usize = 3;

/// The sockets, bound.
pub(super) struct Sockets {
    pub(super) clients: Vec<Bound>,
    pub(super) admin: Bound,
}

impl Sockets {
    /// Takes those that were there before, and opens the others.
    pub(super) fn open(
        server: &Server,
        listeners: &[Listener],
        origin: &mut Origin,
    ) -> Result<Self, StartError> {
        let mut inherited = std::mem::take(&mut origin.inherited);
        let admin = Place::Address(server.admin);
        let places: Vec<Place> =
            listeners.iter().map(|listener| &listener.place).chain([&admin]).cloned().collect();
        let unnamed = inherited.unnamed(&places);
        let mut bind = |place: &Place, role| {
            Bound::bind(place, role, &mut inherited).map_err(|error| error.with_unnamed(&unnamed))
        };
        let clients = listeners
            .iter()
            .map(|listener| bind(&listener.place, Role::Clients))
            .collect::<Result<Vec<_>, _>>()?;
        let admin = bind(&admin, Role::Admin)?;
        inherited.close_rest();
        Ok(Self { clients, admin })
    }

    /// Where clients connect, and the admin listener.
    pub(super) fn places(&self) -> (Vec<Place>, Place) {
        (self.clients.iter().map(|bound| bound.place.clone()).collect(), self.admin.place.clone())
    }

    /// What an upgrade will hand over, if there can be one.
    pub(super) fn giver(&self, origin: &Origin, timeouts: &Timeouts) -> Option<Giver> {
        let sockets = self.clients.iter().chain([&self.admin]).map(Bound::handed).collect();
        origin.may_upgrade.then_some(Giver { sockets, limit: timeouts.upgrade })
    }

    /// Adds a service for clients and one for the admin listener.
    pub(super) fn serve(
        self,
        pingora: &mut pingora_core::server::Server,
        (proxy, admin): (Proxy, Admin),
        switches: &Switches,
        up: mpsc::Sender<()>,
        vitals: Vitals,
    ) {
        let (drain, leave) = (switches.drain.subscribe(), switches.leave.subscribe());
        let (proxy, admin) = (Arc::new(proxy), Arc::new(admin));
        let clients = ("proxy", move |arrival| connection::serve(&proxy, arrival));
        let threads = pingora.configuration.threads;
        let watched = (vitals.clone(), Watched::Threads);
        pingora.add_service(Accepting::new(clients, self.clients, drain, up.clone(), threads, watched));
        let admins = ("admin", move |arrival| Some(admin::serve(Arc::clone(&admin), arrival)));
        let watched = (vitals, Watched::Nothing);
        pingora.add_service(Accepting::new(admins, vec![self.admin], leave, up, 1, watched));
    }
}
