//! Chains of client addresses: a line with the peer, a line with trusted networks, then fields.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderValue;
use sidelock::client_addr::ClientAddr;
use sidelock::networks::Networks;

use super::input::Input;

/// One chain.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let peer: IpAddr = input.text().parse().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let trusted = Networks::new(input.text().split(',').filter_map(|net| net.trim().parse().ok()));
    let mut headers = input.headers();
    let client = ClientAddr::find(peer, &headers, &trusted);
    assert_eq!(client.ip(), client.ip().to_canonical(), "one address has one form");
    assert!(client.for_allowlist().is_none_or(|ip| ip == client.ip()));
    let _ = client.group();
    if !trusted.contains(peer.to_canonical()) {
        assert_eq!(client.for_allowlist(), Some(peer.to_canonical()), "a stranger's chain is not read");
        return;
    }
    // Whatever a client writes in front of the chain, it is not somebody else: at most the chain becomes too long, or is one
    // that nobody believes.
    let before: Vec<HeaderValue> = headers.get_all("x-forwarded-for").iter().cloned().collect();
    let Some(ip) = client.for_allowlist().filter(|ip| !trusted.contains(*ip) && !before.is_empty()) else {
        return;
    };
    headers.remove("x-forwarded-for");
    headers.append("x-forwarded-for", HeaderValue::from_static("203.0.113.66, nonsense"));
    for value in before {
        headers.append("x-forwarded-for", value);
    }
    let forged = ClientAddr::find(peer, &headers, &trusted);
    assert_eq!(forged.for_allowlist(), Some(ip), "only what trusted proxies wrote counts");
}
