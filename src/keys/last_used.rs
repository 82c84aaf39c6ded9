//! When keys were last used: kept in the state folder, for commands that run beside the gateway and for the next start.
//!
//! The running process writes it once a minute if something changed, and when it ends; never for a request. A crash loses the
//! last minute.

use std::collections::HashMap;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::key::KeyId;
use crate::clock::WallTime;
use crate::credential::api_key::KeyDigest;

/// The file in the state folder: one JSON object a line.
pub const FILE: &str = "last-used.ndjson";

/// A secret that was used within this time is busy: 1 h.
pub const BUSY: Duration = Duration::from_secs(3_600);

/// Last uses by key.
#[derive(Clone, Debug, Default)]
pub struct LastUsed {
    by_id: HashMap<KeyId, Uses>,
}

/// The last uses of one key, `None` where none is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Uses {
    /// By whichever secret.
    pub any: Option<WallTime>,
    /// By the secret that a rotation replaced.
    pub previous: Option<PreviousUse>,
    /// The first use of the secret with this digest, from which the end of the one before it may count.
    pub first: Option<(KeyDigest, WallTime)>,
}

/// Uses of a secret that a rotation replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreviousUse {
    /// Which secret: the next rotation replaces another one.
    pub digest: KeyDigest,
    /// The last use.
    pub last: WallTime,
    /// How many there were.
    pub count: u64,
    /// From where the last one came, if that was certain.
    pub from: Option<IpAddr>,
}

impl Uses {
    /// Uses of the secret with this digest as the replaced one.
    pub fn of_previous(&self, digest: &KeyDigest) -> Option<PreviousUse> {
        self.previous.filter(|previous| previous.digest == *digest)
    }
}

impl LastUsed {
    /// What is kept in the state folder. Lines that cannot be read are passed over: it is a help, not a record.
    pub fn read(state_dir: &Path) -> Self {
        Self::of_text(&std::fs::read_to_string(state_dir.join(FILE)).unwrap_or_default())
    }

    /// What the text of a file says.
    pub fn of_text(text: &str) -> Self {
        Self { by_id: text.lines().filter_map(line).collect() }
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(self.by_id.len() * 64);
        let mut in_order: Vec<_> = self.by_id.iter().collect();
        // Always the same text for the same facts.
        in_order.sort_unstable_by_key(|(id, _)| id.as_str());
        for (id, uses) in in_order {
            let Uses { any, previous, first } = uses;
            // Ids, digests and moments have nothing that JSON escapes. Writing to a String does not fail.
            let _ = write!(out, "{{\"id\":\"{}\"", id.as_str());
            if let Some(moment) = any {
                let _ = write!(out, ",\"any\":\"{}\"", moment.rfc3339());
            }
            if let Some(PreviousUse { digest, last, count, from }) = previous {
                let last = last.rfc3339();
                let _ = write!(
                    out,
                    ",\"previous_of\":\"{digest}\",\"previous\":\"{last}\",\"previous_count\":{count}"
                );
                if let Some(from) = from {
                    let _ = write!(out, ",\"previous_from\":\"{from}\"");
                }
            }
            if let Some((digest, moment)) = first {
                let _ = write!(out, ",\"first_of\":\"{digest}\",\"first\":\"{}\"", moment.rfc3339());
            }
            out.push_str("}\n");
        }
        out
    }

    /// From what is known already.
    pub fn of_known(known: impl IntoIterator<Item = (KeyId, Uses)>) -> Self {
        Self { by_id: known.into_iter().collect() }
    }

    /// The uses of one key.
    pub fn of(&self, id: &KeyId) -> Uses {
        self.by_id.get(id).copied().unwrap_or_default()
    }
}

fn line(text: &str) -> Option<(KeyId, Uses)> {
    let fields: Value = serde_json::from_str(text).ok()?;
    let moment = |name: &str| -> Option<WallTime> {
        let stamp: jiff::Timestamp = fields.get(name)?.as_str()?.parse().ok()?;
        Some(WallTime::from_unix_secs(stamp.as_second()))
    };
    let digest = |name: &str| -> Option<KeyDigest> { fields.get(name)?.as_str()?.parse().ok() };
    let previous = || {
        Some(PreviousUse {
            digest: digest("previous_of")?,
            last: moment("previous")?,
            count: fields.get("previous_count")?.as_u64()?,
            from: fields.get("previous_from").and_then(Value::as_str).and_then(|from| from.parse().ok()),
        })
    };
    let uses =
        Uses { any: moment("any"), previous: previous(), first: digest("first_of").zip(moment("first")) };
    Some((KeyId::new(fields.get("id")?.as_str()?)?, uses))
}

/// True if `last` is within [`BUSY`] before `now`.
pub fn is_busy(last: Option<WallTime>, now: WallTime) -> bool {
    last.is_some_and(|last| now.since(last) < BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_rubbish_is_passed_over() {
        let at = |secs: i64| Some(WallTime::from_unix_secs(1_700_000_000 + secs));
        let full = Uses {
            any: at(1),
            previous: Some(PreviousUse {
                digest: KeyDigest::of(b"y"),
                last: WallTime::from_unix_secs(1_700_000_002),
                count: 3,
                from: Some([192, 0, 2, 1].into()),
            }),
            first: Some((KeyDigest::of(b"x"), WallTime::from_unix_secs(1_700_000_003))),
        };
        let known = [("a", full), ("b", Uses { any: at(4), ..Uses::default() })];
        let kept = LastUsed::of_known(known.map(|(id, uses)| (KeyId::new(id).unwrap(), uses)));
        let folder = tempfile::tempdir().unwrap();
        let text = format!("rubbish\n{{\"id\":7}}\n{}{{\"id\":\"c\",\"any\":\"soon", kept.text());
        std::fs::write(folder.path().join(FILE), text).unwrap();
        let read = LastUsed::read(folder.path());
        assert_eq!(read.by_id.len(), 2);
        for (id, uses) in known {
            assert_eq!(read.of(&KeyId::new(id).unwrap()), uses, "{id}");
        }
        assert_eq!(LastUsed::read(&folder.path().join("none")).by_id.len(), 0);
    }
}
