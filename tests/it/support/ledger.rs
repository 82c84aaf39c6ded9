//! Access logs that a test makes, with times of its own.

use sidelock::clock::WallTime;

/// 2026-11-22T10:00:00Z, a Sunday.
pub const NOON: i64 = 1_795_341_600;

/// One request to be written down.
#[derive(Clone)]
pub struct Entry {
    pub secs: i64,
    pub id: String,
    pub client: String,
    pub method: &'static str,
    pub path: String,
    pub route: &'static str,
    pub key: Option<&'static str>,
    pub scope: Option<&'static str>,
    pub status: u16,
    /// Further fields, each with a comma before it.
    pub more: String,
}

/// An allowed `GET` by `key`, so many seconds after [`NOON`].
pub fn get(secs: i64, key: &'static str, path: &str) -> Entry {
    Entry {
        secs,
        id: format!("{:016x}", secs.unsigned_abs()),
        client: "203.0.113.7".to_owned(),
        method: "GET",
        path: path.to_owned(),
        route: "api",
        key: Some(key),
        scope: Some("read"),
        status: 200,
        more: String::new(),
    }
}

/// A refusal of a stranger.
pub fn refused(secs: i64, client: &str, reason: &str) -> Entry {
    let more = format!(",\"reason\":\"{reason}\"");
    Entry { client: client.to_owned(), key: None, scope: None, status: 401, more, ..get(secs, "", "/api/x") }
}

impl Entry {
    pub fn line(&self) -> String {
        let at = WallTime::from_unix_secs(NOON + self.secs).rfc3339();
        let path = serde_json::Value::from(self.path.as_str());
        let field = |name: &str, value: Option<&str>| {
            value.map_or_else(String::new, |value| format!(",\"{name}\":\"{value}\""))
        };
        format!(
            "{{\"time\":\"{}.000Z\",\"id\":\"{}\",\"client\":\"{}\",\"method\":\"{}\",\"path\":{path},\"route\":\"{}\"{}{},\"status\":{}{},\"end\":\"complete\",\"bytes_in\":0,\"bytes_out\":10,\"us\":900}}\n",
            at.trim_end_matches('Z'),
            self.id,
            self.client,
            self.method,
            self.route,
            field("key", self.key),
            field("scope", self.scope),
            self.status,
            self.more
        )
    }
}

/// The text of a log.
pub fn text(entries: &[Entry]) -> String {
    entries.iter().map(Entry::line).collect()
}
