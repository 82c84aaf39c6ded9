//! From where keys are used, kept in the state folder like [`last_used`](super::last_used), at the same times.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

use ipnet::IpNet;
use serde_json::Value;

use super::key::KeyId;
use super::origins::{Hour, MOST_ADDRESSES, MOST_NETWORKS, Network, Seen, SeenAddress, SeenNetwork};
use crate::clock::WallTime;

/// The file in the state folder: one JSON object a line.
pub const FILE: &str = "networks.ndjson";

/// What is remembered, by key.
#[derive(Clone, Debug, Default)]
pub struct KnownOrigins {
    by_id: HashMap<KeyId, Seen>,
}

impl KnownOrigins {
    /// What is kept in the state folder. Lines and entries that cannot be read are passed over.
    pub fn read(state_dir: &Path) -> Self {
        let bytes = std::fs::read(state_dir.join(FILE)).unwrap_or_default();
        Self::of_text(&String::from_utf8_lossy(&bytes))
    }

    /// What the text of a file says.
    pub fn of_text(text: &str) -> Self {
        Self { by_id: text.lines().filter_map(line).collect() }
    }

    /// From what is known already.
    pub fn of_known(known: impl IntoIterator<Item = (KeyId, Seen)>) -> Self {
        Self { by_id: known.into_iter().filter(|(_, seen)| !seen.is_empty()).collect() }
    }

    /// What is remembered of one key; `None` for nothing.
    pub fn of(&self, id: &KeyId) -> Option<&Seen> {
        self.by_id.get(id)
    }

    /// The text of the file, always the same for the same facts.
    pub fn text(&self) -> String {
        let mut in_order: Vec<_> = self.by_id.iter().collect();
        in_order.sort_unstable_by_key(|(id, _)| id.as_str());
        let mut out = String::new();
        for (id, seen) in in_order {
            // Ids, addresses and moments have nothing that JSON escapes. Writing to a String does not fail.
            let _ = write!(out, "{{\"id\":\"{}\",\"networks\":[", id.as_str());
            for (at, SeenNetwork { network, first, last }) in seen.networks.iter().enumerate() {
                let (first, last) = (first.start().rfc3339(), last.start().rfc3339());
                let _ = write!(out, "{}[\"{network}\",\"{first}\",\"{last}\"]", comma(at));
            }
            out.push_str("],\"addresses\":[");
            for (at, SeenAddress { ip, last }) in seen.addresses.iter().enumerate() {
                let _ = write!(out, "{}[\"{ip}\",\"{}\"]", comma(at), last.start().rfc3339());
            }
            out.push_str("]}\n");
        }
        out
    }
}

const fn comma(at: usize) -> &'static str {
    if at == 0 { "" } else { "," }
}

fn line(text: &str) -> Option<(KeyId, Seen)> {
    let fields: Value = serde_json::from_str(text).ok()?;
    let list = |name: &str| fields.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut networks: Vec<SeenNetwork> = Vec::new();
    for seen in list("networks").iter().filter_map(network).take(MOST_NETWORKS) {
        if !networks.iter().any(|known| known.network == seen.network) {
            networks.push(seen);
        }
    }
    let addresses = list("addresses").iter().filter_map(address).take(MOST_ADDRESSES).collect();
    Some((KeyId::new(fields.get("id")?.as_str()?)?, Seen { networks, addresses }))
}

fn network(entry: &Value) -> Option<SeenNetwork> {
    let [network, first, last] = entry.as_array()?.as_slice() else { return None };
    let net: IpNet = network.as_str()?.parse().ok()?;
    Some(SeenNetwork { network: Network::of(net.addr()), first: hour(first)?, last: hour(last)? })
}

fn address(entry: &Value) -> Option<SeenAddress> {
    let [ip, last] = entry.as_array()?.as_slice() else { return None };
    let ip: IpAddr = ip.as_str()?.parse().ok()?;
    Some(SeenAddress { ip, last: hour(last)? })
}

fn hour(value: &Value) -> Option<Hour> {
    let stamp: jiff::Timestamp = value.as_str()?.parse().ok()?;
    Some(Hour::of(WallTime::from_unix_secs(stamp.as_second())))
}

#[cfg(test)]
mod tests {
    use super::super::origins::Origins;
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_rubbish_is_passed_over() {
        let origins = Origins::default();
        for (ip, secs) in [("192.0.2.1", 0), ("2001:db8::1", 7_200), ("192.0.2.2", 7_300)] {
            origins.note(ip.parse().unwrap(), WallTime::from_unix_secs(1_700_000_000 + secs));
        }
        let id = |text: &str| KeyId::new(text).unwrap();
        let kept = KnownOrigins::of_known([(id("a"), origins.seen()), (id("b"), Seen::default())]);
        let folder = tempfile::tempdir().unwrap();
        let mut text = b"rubbish\n\xff\n{\"id\":7}\n".to_vec();
        text.extend_from_slice(kept.text().as_bytes());
        text.extend_from_slice(b"{\"id\":\"c\",\"networks\":[[\"x\",1],7,[\"192.0.2.0/24\",\"2023-11-14T22:00:00Z\",\"2023-11-14T23:00:00Z\"]]}\n{\"id\":\"d\",\"netw");
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let read = KnownOrigins::read(folder.path());
        assert_eq!(read.of(&id("a")), Some(&origins.seen()));
        assert_eq!(read.of(&id("c")).map(|seen| seen.networks.len()), Some(1));
        assert_eq!((read.of(&id("b")), read.of(&id("d"))), (None, None));
        assert!(KnownOrigins::read(&folder.path().join("none")).by_id.is_empty());
    }
}
