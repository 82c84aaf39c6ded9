//! Figures out of the access log: the weekly review, and what a leaked key reached. No text here but words of the log.
//!
//! Memory is bounded whatever the log holds: what strangers can make many of is kept in [`tops`], which forgets the least and
//! says so.

pub mod leak;
pub mod review;
pub mod shape;
pub mod tops;
pub mod touched;
pub mod volume;

use std::net::IpAddr;

use serde::{Serialize, Serializer};

use crate::clock::WallTime;
use crate::denial::words::of_reason;

/// A span of time: `since <= time < until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// From here on.
    pub since: Stamp,
    /// Up to here.
    pub until: Stamp,
}

/// A moment that serializes as RFC 3339 with whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub WallTime);

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0.rfc3339())
    }
}

/// Something that was counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// What.
    pub name: String,
    /// How often. Where there are too many names to keep all, this is the least that it can be.
    pub count: u64,
    /// How much more it can be at most.
    pub more_at_most: u64,
    /// When for the first and the last time.
    pub first: Stamp,
    /// When for the last time.
    pub last: Stamp,
}

/// An address as it is counted: IPv6 per /64, for one host has that many.
pub fn network(client: &str) -> String {
    match client.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{}/64", std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        Ok(IpAddr::V4(ip)) => ip.to_string(),
        Err(_) => client.chars().take(64).collect(),
    }
}

/// True for a reason that means a refused credential, and for decoys.
pub fn is_credential(reason: &str) -> bool {
    reason == DECOY || of_reason(reason).is_some_and(|denial| denial.is_authentication_failure())
}

/// The reason of a key that nobody should have.
pub const DECOY: &str = "decoy";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_are_one() {
        for (client, counted) in [
            ("203.0.113.7", "203.0.113.7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(network(client), counted);
        }
        assert!(is_credential("unknown") && is_credential("decoy") && is_credential("webhook_secret_wrong"));
        assert!(!is_credential("scope") && !is_credential("rate") && !is_credential("?"));
    }
}
