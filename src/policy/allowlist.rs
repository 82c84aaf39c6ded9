//! From which addresses: every list that applies must hold the client.

use crate::client_addr::ClientAddr;
use crate::denial::Denial;
use crate::networks::Networks;

/// Networks that may call; empty means that this list decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist(Networks);

impl Allowlist {
    /// From the configured networks.
    pub const fn new(networks: Networks) -> Self {
        Self(networks)
    }

    /// The networks.
    pub const fn networks(&self) -> &Networks {
        &self.0
    }

    /// True if this list decides nothing.
    pub const fn is_open(&self) -> bool {
        self.0.is_empty()
    }

    /// Passes a client on the list; refuses one whose address is in doubt.
    ///
    /// # Errors
    /// [`Denial::AddressNotAllowed`].
    pub fn permit(&self, client: ClientAddr) -> Result<(), Denial> {
        let listed = || client.for_allowlist().is_some_and(|ip| self.0.contains(ip));
        if self.is_open() || listed() { Ok(()) } else { Err(Denial::AddressNotAllowed) }
    }
}
