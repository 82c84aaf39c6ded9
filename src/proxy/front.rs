//! The listeners: which one a connection came by, and what it is told there now.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use pingora_core::protocols::Stream;

use crate::config::{Listener, Place};

/// Where a listener was bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The port is a true one.
    Address(SocketAddr),
    /// A socket file.
    Socket(PathBuf),
}

/// Where all of them were bound, in the order of the configuration that the process started with.
#[derive(Debug)]
pub struct Fronts(Vec<Bound>);

impl Fronts {
    /// In this order.
    pub const fn new(bound: Vec<Bound>) -> Self {
        Self(bound)
    }

    /// The position of the listener that `stream` came by, and the address at its other end. Whoever comes by a socket file is on
    /// this machine, and counts as 127.0.0.1.
    pub fn find(&self, stream: &Stream) -> Option<(usize, IpAddr)> {
        let digest = stream.get_socket_digest()?;
        let peer = digest.peer_addr().and_then(|peer| Some(peer.as_inet()?.ip().to_canonical()));
        if let (Some(peer), [Bound::Address(_)]) = (peer, &*self.0) {
            return Some((0, peer));
        }
        let local = digest.local_addr()?;
        match (local.as_inet(), peer) {
            (Some(local), Some(peer)) => Some((self.at_address(*local)?, peer)),
            (Some(_), None) => None,
            (None, _) => {
                let path = local.as_unix()?.as_pathname()?;
                let is_here = |bound: &Bound| matches!(bound, Bound::Socket(known) if known == path);
                Some((self.0.iter().position(is_here)?, IpAddr::V4(Ipv4Addr::LOCALHOST)))
            }
        }
    }

    /// The listener at this very address, or else the one at every address with its port.
    fn at_address(&self, local: SocketAddr) -> Option<usize> {
        let find = |fits: &dyn Fn(SocketAddr) -> bool| {
            self.0.iter().position(|bound| matches!(bound, Bound::Address(known) if fits(*known)))
        };
        let any = |known: SocketAddr| known.port() == local.port() && known.ip().is_unspecified();
        find(&|known| known.ip() == local.ip() && known.port() == local.port())
            .or_else(|| find(&|known| any(known) && known.is_ipv4() == local.is_ipv4()))
            .or_else(|| find(&any))
    }
}

/// For each of the `places` that are bound, what `new` content says of it; what it no longer names stays as it was. A listener
/// that did not change stays the very same, and with it the sessions that clients can resume.
pub fn in_order(places: &[Place], new: &[Listener], before: &[Arc<Listener>]) -> Vec<Arc<Listener>> {
    let one = |(at, place): (usize, &Place)| {
        // Port 0 can be there more than once.
        let nth = places.iter().take(at).filter(|other| other.is(place)).count();
        let old = before.get(at);
        match (new.iter().filter(|it| it.place.is(place)).nth(nth), old) {
            (Some(new), Some(old)) if *new == **old => Some(Arc::clone(old)),
            (Some(new), _) => Some(Arc::new(new.clone())),
            (None, old) => old.cloned(),
        }
    };
    places.iter().enumerate().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listener_of_an_address() {
        let at = |text: &str| Bound::Address(text.parse().unwrap());
        let fronts = Fronts::new(vec![at("0.0.0.0:80"), at("[::]:80"), at("192.0.2.1:80"), at("[::]:443")]);
        for (local, wanted) in [
            ("192.0.2.1:80", Some(2)),
            ("192.0.2.2:80", Some(0)),
            ("[2001:db8::1]:80", Some(1)),
            ("192.0.2.1:443", Some(3)),
            ("192.0.2.1:8080", None),
        ] {
            assert_eq!(fronts.at_address(local.parse().unwrap()), wanted, "{local}");
        }
    }
}
