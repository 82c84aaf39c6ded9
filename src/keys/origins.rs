//! From where a key is used: its networks, and its last addresses. A stolen key shows by a network that it never had.
//!
//! Bounded for each key, and noted by the hour: a request from the address of the last one, in the same hour, costs a
//! comparison. Whatever the key was then refused for counts too, because a thief tries what a key may do.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::IpNet;
use parking_lot::Mutex;

use crate::clock::WallTime;

/// Most networks that are remembered of a key; beyond it the one that was unused the longest is forgotten.
pub const MOST_NETWORKS: usize = 64;
/// Most addresses that are remembered of a key, the last ones.
pub const MOST_ADDRESSES: usize = 8;

/// What counts as one network: an IPv4 /24, or an IPv6 /48, which is about one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Network(IpNet);

/// A whole hour since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hour(u32);

/// From where one key is used.
#[derive(Debug, Default)]
pub struct Origins {
    last: Last,
    seen: Mutex<Seen>,
    new_networks: AtomicU64,
}

/// What is remembered of one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// In the order in which they were first seen.
    pub networks: Vec<SeenNetwork>,
    /// The last one first.
    pub addresses: Vec<SeenAddress>,
}

/// A network, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenNetwork {
    /// Which.
    pub network: Network,
    /// The first use.
    pub first: Hour,
    /// The last use.
    pub last: Hour,
}

/// An address, and when it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenAddress {
    /// Which.
    pub ip: IpAddr,
    /// The last use.
    pub last: Hour,
}

impl Network {
    /// The network of an address that is already canonical.
    pub fn of(ip: IpAddr) -> Self {
        let bits = if ip.is_ipv4() { 24 } else { 48 };
        Self(IpNet::new(ip, bits).unwrap_or_else(|_| IpNet::from(ip)).trunc())
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Hour {
    /// The hour of a moment.
    pub fn of(now: WallTime) -> Self {
        Self(u32::try_from(hours(now)).unwrap_or(u32::MAX))
    }

    /// Its beginning.
    pub fn start(self) -> WallTime {
        WallTime::from_unix_secs(i64::from(self.0) * 3_600)
    }
}

impl Origins {
    /// What an earlier process knew.
    pub fn after(seen: Seen) -> Self {
        Self { seen: Mutex::new(seen), ..Self::default() }
    }

    /// Notes a use from `ip`, which is canonical, at `now`.
    #[inline]
    pub fn note(&self, ip: IpAddr, now: WallTime) {
        let hour = hours(now);
        if !self.last.is(ip, hour) {
            self.note_change(ip, hour);
        }
    }

    #[cold]
    fn note_change(&self, ip: IpAddr, hour: u64) {
        let mut seen = self.seen.lock();
        if seen.note(ip, Hour(u32::try_from(hour).unwrap_or(u32::MAX))) == Novelty::New {
            self.new_networks.fetch_add(1, Ordering::Relaxed);
        }
        self.last.set(ip, hour);
    }

    /// Adds what another process saw meanwhile; nothing of it is news.
    pub fn learn(&self, other: &Seen) {
        let mut seen = self.seen.lock();
        for network in &other.networks {
            match seen.networks.iter_mut().find(|known| known.network == network.network) {
                Some(known) => {
                    (known.first, known.last) =
                        (known.first.min(network.first), known.last.max(network.last));
                }
                None => seen.push(*network),
            }
        }
        for address in &other.addresses {
            if seen.addresses.len() < MOST_ADDRESSES && seen.addresses.iter().all(|it| it.ip != address.ip) {
                seen.addresses.push(*address);
            }
        }
    }

    /// What is remembered.
    pub fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    /// The number of networks that are remembered, and how often this process saw one that was not, of a key that had some.
    pub fn networks(&self) -> (usize, u64) {
        (self.seen.lock().networks.len(), self.new_networks.load(Ordering::Relaxed))
    }
}

/// Who called last, and in which hour. An IPv4 address and its hour fit into one word, which is all that most calls compare.
#[derive(Debug, Default)]
struct Last {
    /// `hour << 32 | IPv4 address`, or with the highest bit for the IPv6 address in the other two.
    first: AtomicU64,
    v6: [AtomicU64; 2],
}

const IS_V6: u64 = 1 << 63;

impl Last {
    #[inline]
    fn is(&self, ip: IpAddr, hour: u64) -> bool {
        let is = |slot: &AtomicU64, word: u64| slot.load(Ordering::Relaxed) == word;
        match ip {
            IpAddr::V4(v4) => is(&self.first, hour << 32 | u64::from(v4.to_bits())),
            IpAddr::V6(v6) => {
                let [high, low] = halves(v6);
                let [known_high, known_low] = &self.v6;
                is(&self.first, IS_V6 | hour << 32) && is(known_high, high) && is(known_low, low)
            }
        }
    }

    fn set(&self, ip: IpAddr, hour: u64) {
        match ip {
            IpAddr::V4(v4) => self.first.store(hour << 32 | u64::from(v4.to_bits()), Ordering::Relaxed),
            IpAddr::V6(v6) => {
                self.first.store(IS_V6 | hour << 32, Ordering::Relaxed);
                for (known, half) in self.v6.iter().zip(halves(v6)) {
                    known.store(half, Ordering::Relaxed);
                }
            }
        }
    }
}

fn halves(v6: Ipv6Addr) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h] = v6.segments().map(u64::from);
    [a << 48 | b << 32 | c << 16 | d, e << 48 | f << 32 | g << 16 | h]
}

fn hours(now: WallTime) -> u64 {
    u64::try_from(now.unix_millis()).unwrap_or_default() / 3_600_000
}

/// What a network is to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Novelty {
    /// It is remembered, or the first one ever.
    Expected,
    /// It is not, and others are.
    New,
}

impl Seen {
    /// True if nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.addresses.is_empty()
    }

    fn note(&mut self, ip: IpAddr, hour: Hour) -> Novelty {
        self.addresses.retain(|known| known.ip != ip);
        self.addresses.insert(0, SeenAddress { ip, last: hour });
        self.addresses.truncate(MOST_ADDRESSES);
        let network = Network::of(ip);
        if let Some(known) = self.networks.iter_mut().find(|known| known.network == network) {
            known.last = hour;
            return Novelty::Expected;
        }
        let novelty = if self.networks.is_empty() { Novelty::Expected } else { Novelty::New };
        self.push(SeenNetwork { network, first: hour, last: hour });
        novelty
    }

    fn push(&mut self, seen: SeenNetwork) {
        if self.networks.len() >= MOST_NETWORKS {
            let oldest = self.networks.iter().enumerate().min_by_key(|(_, known)| known.last);
            if let Some((oldest, _)) = oldest {
                self.networks.remove(oldest);
            }
        }
        self.networks.push(seen);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: WallTime = WallTime::from_unix_secs(1_700_000_000);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn known(origins: &Origins) -> Vec<String> {
        origins.seen().networks.iter().map(|known| known.network.to_string()).collect()
    }

    #[test]
    fn a_network_that_a_key_never_had_is_told() {
        let origins = Origins::default();
        assert_eq!(origins.networks(), (0, 0));
        origins.note(ip("192.0.2.1"), START);
        assert_eq!(origins.networks(), (1, 0), "the first network is no alarm");
        origins.note(ip("192.0.2.77"), START);
        assert_eq!(origins.networks(), (1, 0));
        origins.note(ip("192.0.3.1"), START);
        origins.note(ip("2001:db8:1:2::3"), START);
        origins.note(ip("2001:db8:1:ffff::3"), START);
        assert_eq!(origins.networks(), (3, 2));
        assert_eq!(known(&origins), ["192.0.2.0/24", "192.0.3.0/24", "2001:db8:1::/48"]);
        let again = Origins::after(origins.seen());
        again.note(ip("192.0.3.9"), START);
        assert_eq!(again.networks(), (3, 0), "what an earlier process knew is known");
        again.note(ip("198.51.100.1"), START);
        assert_eq!(again.networks(), (4, 1));
    }

    #[test]
    fn hours_are_noted_also_from_the_same_address() {
        let origins = Origins::default();
        let later = START.after(Duration::from_secs(7_200));
        for now in [START, START.after(Duration::from_secs(1)), later] {
            origins.note(ip("192.0.2.1"), now);
        }
        let seen = origins.seen();
        let network = seen.networks.first().unwrap();
        assert_eq!((network.first, network.last), (Hour::of(START), Hour::of(later)));
        assert_eq!(seen.addresses, [SeenAddress { ip: ip("192.0.2.1"), last: Hour::of(later) }]);
        assert_eq!(Hour::of(START).start().rfc3339(), "2023-11-14T22:00:00Z");
    }

    #[test]
    fn addresses_that_differ_anywhere_are_told_apart() {
        let origins = Origins::default();
        let zero = WallTime::from_unix_secs(3_600);
        for text in ["::", "0.0.0.0", "::1", "1::", "0.0.0.1", "::", "::ffff:1:0"] {
            origins.note(ip(text), zero);
            assert_eq!(origins.seen().addresses.first().map(|seen| seen.ip), Some(ip(text)));
        }
    }

    #[test]
    fn the_last_addresses_and_the_networks_in_use_are_kept() {
        let origins = Origins::default();
        for number in 0..10_000_u32 {
            let now = START.after(Duration::from_secs(u64::from(number) * 3_600));
            origins.note(IpAddr::V4((number << 8).into()), now);
            origins.note(ip("198.51.100.1"), now);
        }
        let seen = origins.seen();
        assert_eq!((seen.networks.len(), seen.addresses.len()), (MOST_NETWORKS, MOST_ADDRESSES));
        assert_eq!(seen.addresses.first().map(|seen| seen.ip), Some(ip("198.51.100.1")));
        let steady = seen.networks.iter().find(|known| known.network == Network::of(ip("198.51.100.1")));
        assert_eq!(steady.map(|known| known.first), Some(Hour::of(START)), "what is used is not forgotten");
    }
}
