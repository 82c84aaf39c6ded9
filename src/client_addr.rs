//! Who is calling: the socket's address, or the one that trusted proxies vouch for.
//!
//! A chain is read right to left; the first address that is not a trusted proxy is the client. Leftmost entries are the
//! client's own words and never believed. RFC 7239 for `Forwarded`; `X-Forwarded-For` by common practice.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use crate::networks::Networks;

/// Longest chain that is read, in entries.
const MOST_HOPS: usize = 32;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address that rules apply to. IPv4-mapped IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddr {
    ip: IpAddr,
    certainty: Certainty,
}

/// Whether the address can decide an allowlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Certainty {
    Known,
    /// A trusted proxy sent no chain, garbage, two that disagree, or more than [`MOST_HOPS`] entries.
    Doubtful,
}

/// One counting unit of addresses: an IPv4 address, or an IPv6 /64, which one subscriber holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddrGroup(IpAddr);

impl ClientAddr {
    /// Finds the client behind `peer`.
    pub fn find(peer: IpAddr, headers: &HeaderMap, trusted: &Networks) -> Self {
        let peer = peer.to_canonical();
        if trusted.is_empty() || !trusted.contains(peer) {
            return Self { ip: peer, certainty: Certainty::Known };
        }
        match chains(headers, trusted) {
            Some(ip) => Self { ip, certainty: Certainty::Known },
            None => Self { ip: peer, certainty: Certainty::Doubtful },
        }
    }

    /// The address.
    pub const fn ip(self) -> IpAddr {
        self.ip
    }

    /// The address, if it is certain enough to decide an allowlist.
    pub const fn for_allowlist(self) -> Option<IpAddr> {
        match self.certainty {
            Certainty::Known => Some(self.ip),
            Certainty::Doubtful => None,
        }
    }

    /// The unit in which this address is counted.
    pub const fn group(self) -> AddrGroup {
        AddrGroup::of(self.ip)
    }
}

impl AddrGroup {
    /// The address that stands for all of them.
    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// The group of an address that is already canonical.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self(ip),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                Self(IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)))
            }
        }
    }
}

impl std::fmt::Display for AddrGroup {
    /// `192.0.2.1`, `2001:db8::/64`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => write!(f, "{v4}"),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

impl std::str::FromStr for AddrGroup {
    type Err = std::net::AddrParseError;

    /// From any address in it, or as it is displayed.
    fn from_str(text: &str) -> Result<Self, std::net::AddrParseError> {
        let ip: IpAddr = text.strip_suffix("/64").filter(|ip| ip.contains(':')).unwrap_or(text).parse()?;
        Ok(Self::of(ip.to_canonical()))
    }
}

/// The client by whichever chains are present; `None` if none is, one is unreadable, or two disagree.
fn chains(headers: &HeaderMap, trusted: &Networks) -> Option<IpAddr> {
    let by_list = headers
        .contains_key(X_FORWARDED_FOR)
        .then(|| right_to_left(headers, &X_FORWARDED_FOR, trusted, parse_node));
    let by_standard = headers
        .contains_key(header::FORWARDED)
        .then(|| right_to_left(headers, &header::FORWARDED, trusted, parse_forwarded));
    match (by_list, by_standard) {
        (Some(one), None) | (None, Some(one)) => one,
        (Some(one), Some(other)) if one == other => one,
        (None, None) | (Some(_), Some(_)) => None,
    }
}

/// All fields of one name are one list (RFC 9110 section 5.3). The first address from the right that is not trusted; the
/// leftmost if all are.
fn right_to_left(
    headers: &HeaderMap,
    name: &HeaderName,
    trusted: &Networks,
    parse: fn(&str) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let mut last = None;
    let mut hops = 0;
    let mut fields: Vec<&str> = Vec::new();
    for value in headers.get_all(name) {
        fields.push(value.to_str().ok()?);
    }
    for entry in fields.iter().rev().flat_map(|field| field.rsplit(',')) {
        hops += 1;
        if hops > MOST_HOPS {
            return None;
        }
        let ip = parse(entry.trim_matches([' ', '\t']))?;
        last = Some(ip);
        if !trusted.contains(ip) {
            break;
        }
    }
    last
}

/// `for=` of one `Forwarded` element (RFC 7239 section 4): a token or quoted string; obfuscated names are unreadable here.
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let mut found = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        if name.eq_ignore_ascii_case("for") {
            if found.is_some() {
                return None;
            }
            let unquoted = match value.strip_prefix('"') {
                Some(rest) => rest.strip_suffix('"')?,
                None => value,
            };
            found = Some(parse_node(unquoted)?);
        }
    }
    found
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn parse_node(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    text.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(bracketed)
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(peer: &str, fields: &[(&str, &str)], trusted: &[&str]) -> ClientAddr {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let trusted = Networks::new(trusted.iter().map(|net| net.parse().unwrap()));
        ClientAddr::find(peer.parse().unwrap(), &headers, &trusted)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn strangers_are_not_believed() {
        let addr = find("198.51.100.7", &[("x-forwarded-for", "10.0.0.1")], &[]);
        assert_eq!(addr.for_allowlist(), ip("198.51.100.7"));
        let addr = find("::ffff:198.51.100.7", &[("forwarded", "for=10.0.0.1")], &["10.0.0.0/8"]);
        assert_eq!(addr.for_allowlist(), ip("198.51.100.7"));
    }

    #[test]
    fn the_rightmost_stranger_is_the_client() {
        let proxies = &["10.0.0.0/8"];
        for (fields, client) in [
            (&[("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.2")][..], "203.0.113.9"),
            (&[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            (&[("x-forwarded-for", "203.0.113.9:4711")], "203.0.113.9"),
            (&[("x-forwarded-for", "::ffff:203.0.113.9")], "203.0.113.9"),
            (&[("forwarded", "for=6.6.6.6, for=\"[2001:db8::9]:1\";proto=https")], "2001:db8::9"),
            (&[("forwarded", "for=203.0.113.9"), ("x-forwarded-for", "203.0.113.9")], "203.0.113.9"),
            (&[("x-forwarded-for", "10.0.0.5, 10.0.0.2")], "10.0.0.5"),
        ] {
            assert_eq!(find("10.0.0.1", fields, proxies).for_allowlist(), ip(client), "{fields:?}");
        }
    }

    #[test]
    fn doubt_decides_no_allowlist_but_still_counts() {
        let long = vec!["10.0.0.1"; 40].join(",");
        for fields in [
            &[][..],
            &[("x-forwarded-for", "unknown")],
            &[("x-forwarded-for", "")],
            &[("x-forwarded-for", "203.0.113.9, garbage")],
            &[("x-forwarded-for", long.as_str())],
            &[("forwarded", "for=_hidden")],
            &[("forwarded", "for=1.1.1.1;for=2.2.2.2")],
            &[("forwarded", "for=1.1.1.1"), ("x-forwarded-for", "2.2.2.2")],
        ] {
            let addr = find("10.0.0.1", fields, &["10.0.0.0/8"]);
            assert_eq!(addr.for_allowlist(), None, "{fields:?}");
            assert_eq!(Some(addr.ip()), ip("10.0.0.1"));
        }
    }

    #[test]
    fn v6_counts_per_64() {
        let group = |text: &str| AddrGroup::of(text.parse().unwrap());
        assert_eq!(group("2001:db8:1:2::1"), group("2001:db8:1:2:ffff::9"));
        assert_ne!(group("2001:db8:1:2::1"), group("2001:db8:1:3::1"));
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
    }
}
