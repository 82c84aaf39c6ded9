//! A key as programs see it, and as one line of a sentence.

use serde_json::{Value, json};

use super::super::terminal::plain;
use crate::clock::WallTime;
use crate::keys::key::{Ends, Key, Mode};
use crate::keys::last_used::Uses;

/// The key as JSON. Moments are RFC 3339; what is not known is null. No digest: nobody needs it here.
pub(super) fn as_json(key: &Key, uses: Uses, now: WallTime) -> Value {
    let moment = |moment: Option<WallTime>| moment.map(WallTime::rfc3339);
    let about = key.about.as_deref().cloned().unwrap_or_default();
    let previous = key.previous.map(|previous| match previous.ends {
        Ends::At(until) => json!({ "until": until.rfc3339(), "last_used": moment(uses.previous) }),
        Ends::AfterFirstUse(overlap) => {
            json!({ "overlap_seconds": overlap.as_secs(), "last_used": moment(uses.previous) })
        }
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
        "rate": key.rate.map(|rate| rate.to_string()),
        "note": about.note,
        "previous": previous,
        "revoked_at": moment(about.revoked_at),
        "revoked_reason": about.revoked_reason,
    })
}

/// Where the key stands, and whether its limits are only tried out.
pub(super) fn state(key: &Key, now: WallTime) -> String {
    let word = key.phase(now).word();
    match key.mode {
        Mode::Enforce => word.to_owned(),
        Mode::Observe => format!("{word}, observed"),
    }
}

/// `7Qm2xR9k ('Payment gateway')`.
pub(super) fn name(key: &Key) -> String {
    format!("{} ('{}')", key.id.as_str(), plain(key.title.as_str()))
}
