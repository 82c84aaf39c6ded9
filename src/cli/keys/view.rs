//! A key as programs see it, and as one line of a sentence.

use serde_json::{Value, json};

use super::super::terminal::plain;
use crate::clock::WallTime;
use crate::keys::key::{Ends, Key, Mode};
use crate::keys::last_used::{PreviousUse, Uses};
use crate::keys::origins::{Hour, Seen};

/// The key as JSON. Moments are RFC 3339; what is not known is null. No digest: nobody needs it here.
pub(super) fn as_json(key: &Key, uses: Uses, now: WallTime) -> Value {
    let moment = |moment: Option<WallTime>| moment.map(WallTime::rfc3339);
    let about = key.about.as_deref().cloned().unwrap_or_default();
    let previous = key.previous.map(|previous| {
        let uses = uses.of_previous(&previous.digest);
        let (name, end): (_, Value) = match previous.ends {
            Ends::At(until) => ("until", until.rfc3339().into()),
            Ends::AfterFirstUse(overlap) => ("overlap_seconds", overlap.as_secs().into()),
        };
        json!({
            name: end,
            "last_used": moment(uses.map(|uses| uses.last)),
            "uses": uses.map_or(0, |uses| uses.count),
            "last_from": uses.and_then(|uses| uses.from).map(|from| from.to_string()),
        })
    });
    json!({
        "id": key.id.as_str(),
        "title": key.title.as_str(),
        "state": key.phase(now).word(),
        "mode": key.mode.word(),
        "scopes": key.scope_names.split_ascii_whitespace().collect::<Vec<_>>(),
        "owner": about.owner,
        "created": moment(key.created),
        "rotated": moment(about.rotated),
        "expires": moment(key.expires),
        "reason": about.reason,
        "last_used": moment(uses.any),
        "client_cert": key.client_cert.as_deref().map(ToString::to_string),
        "rate": key.rate.map(|rate| rate.to_string()),
        "note": about.note,
        "previous": previous,
        "revoked_at": moment(about.revoked_at),
        "revoked_reason": about.revoked_reason,
    })
}

/// Networks and addresses as JSON, with the hours in which they were seen.
pub(super) fn origins(seen: Option<&Seen>) -> (Value, Value) {
    let hour = |hour: Hour| hour.start().rfc3339();
    let networks = seen.iter().flat_map(|seen| &seen.networks).map(|it| {
        json!({ "network": it.network.to_string(), "first_seen": hour(it.first), "last_seen": hour(it.last) })
    });
    let addresses = seen.iter().flat_map(|seen| &seen.addresses);
    let addresses = addresses.map(|it| json!({ "address": it.ip.to_string(), "last_seen": hour(it.last) }));
    (networks.collect(), addresses.collect())
}

/// Who still uses the secret that a rotation replaced.
pub(super) fn previous_line(key: &Key, uses: Uses) -> Option<(&'static str, String)> {
    let told = match uses.of_previous(&key.previous?.digest) {
        None => "not used since the rotation, as far as is known".to_owned(),
        Some(PreviousUse { last, count, from, .. }) => {
            let from = from.map_or_else(String::new, |from| format!(" from {from}"));
            format!("used {count} times, last {}{from}", last.rfc3339())
        }
    };
    Some(("old secret", told))
}

/// The same for people, the last ones first.
pub(super) fn origin_lines(seen: &Seen) -> Vec<(&'static str, String)> {
    let hour = |hour: Hour| hour.start().rfc3339();
    let mut networks = seen.networks.clone();
    networks.sort_by_key(|it| std::cmp::Reverse(it.last));
    let networks = networks
        .iter()
        .map(|it| ("network", format!("{}  first {}, last {}", it.network, hour(it.first), hour(it.last))));
    let addresses = seen.addresses.iter().map(|it| ("address", format!("{}  {}", it.ip, hour(it.last))));
    networks.chain(addresses).collect()
}

/// Where the key stands, whether its limits are only tried out, and whether it needs a client certificate.
pub(super) fn state(key: &Key, now: WallTime) -> String {
    let mut state = key.phase(now).word().to_owned();
    if key.mode == Mode::Observe {
        state.push_str(", observed");
    }
    if key.client_cert.is_some() {
        state.push_str(", certificate");
    }
    state
}

/// `7Qm2xR9k ('Payment gateway')`.
pub(super) fn name(key: &Key) -> String {
    format!("{} ('{}')", key.id.as_str(), plain(key.title.as_str()))
}
