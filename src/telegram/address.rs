//! What Telegram can reach: IPv4 only, core.telegram.org/bots/webhooks.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::config::telegram::PublicUrl;

/// Longest look-up of the name.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found out about the public address.
#[derive(Debug)]
pub enum Reachability {
    /// It has public addresses.
    Public(Vec<Ipv4Addr>),
    /// It leads, from here, to an address that nobody outside can reach. It may be another one outside.
    Private(Ipv4Addr),
    /// It cannot be resolved here. Telegram resolves it itself and may know better.
    Unresolved(String),
}

/// It has only addresses of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no IPv4 address, and Telegram delivers over IPv4 only")]
pub struct OnlyIpv6(Box<str>);

/// Looks at the public URL's host.
///
/// # Errors
/// [`OnlyIpv6`].
pub async fn look(url: &PublicUrl) -> Result<Reachability, OnlyIpv6> {
    let host = url.host.trim_start_matches('[').trim_end_matches(']');
    let found = match tokio::time::timeout(LIMIT, tokio::net::lookup_host((host, url.port))).await {
        Err(_) => return Ok(Reachability::Unresolved(format!("no answer within {} s", LIMIT.as_secs()))),
        Ok(Err(error)) => return Ok(Reachability::Unresolved(error.to_string())),
        Ok(Ok(found)) => found,
    };
    let mut addresses = Vec::new();
    for address in found {
        if let IpAddr::V4(v4) = address.ip().to_canonical() {
            addresses.push(v4);
        }
    }
    if addresses.is_empty() {
        return Err(OnlyIpv6(url.host.clone()));
    }
    let private = addresses.iter().find(|ip| !is_public(**ip)).copied();
    Ok(private.map_or(Reachability::Public(addresses), Reachability::Private))
}

/// RFC 6890, as far as addresses of hosts go.
fn is_public(ip: Ipv4Addr) -> bool {
    let [first, second, ..] = ip.octets();
    let shared = first == 100 && (64..128).contains(&second);
    !(ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || ip.is_broadcast()
        || first == 0
        || first >= 240
        || shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_nobody_outside_reaches() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.31.0.1",
            "169.254.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "203.0.113.1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in ["149.154.167.220", "100.63.0.1", "100.128.0.1", "172.32.0.1", "8.8.8.8"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
