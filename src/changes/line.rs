//! One line of the record.

use std::path::PathBuf;

use ring::digest;
use serde_json::{Value, json};

use super::who::Who;
use crate::clock::WallTime;

/// What the first line carries in place of a line before it.
pub const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What was done to one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The key's id.
    pub key: String,
    /// The fields that differ.
    pub fields: Vec<FieldChange>,
}

/// One field before and after, as TOML text; digests are cut short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name.
    pub name: String,
    /// What it was; `None` if it was not there.
    pub from: Option<String>,
    /// What it is; `None` if it is gone.
    pub to: Option<String>,
}

/// What all lines of one command share.
#[derive(Clone, Debug)]
pub struct Origin {
    /// When.
    pub when: WallTime,
    /// Who.
    pub who: Who,
    /// What, in one word.
    pub verb: &'static str,
    /// From which command.
    pub command: String,
    /// The key file.
    pub file: PathBuf,
    /// SHA-256 of its text before.
    pub before: String,
    /// And after.
    pub after: String,
}

impl Origin {
    /// The line with this number, which follows the line whose hash is `previous`; without a line break.
    pub(super) fn line(&self, number: u64, change: &Change, previous: &str, head_lost: bool) -> String {
        let fields: serde_json::Map<String, Value> = change
            .fields
            .iter()
            .map(|field| (field.name.clone(), json!({ "from": field.from, "to": field.to })))
            .collect();
        let mut line = json!({
            "n": number,
            "when": self.when.rfc3339(),
            "verb": self.verb,
            "key": change.key,
            "fields": fields,
            "who": {
                "uid": self.who.uid,
                "login": self.who.login,
                "sudo_user": self.who.sudo_user,
            },
            "command": self.command,
            "file": self.file.display().to_string(),
            "file_before": self.before,
            "file_after": self.after,
        });
        if let Some(line) = line.as_object_mut() {
            if head_lost {
                line.insert("head_lost".to_owned(), true.into());
            }
            line.insert("previous".to_owned(), previous.into());
        }
        line.to_string()
    }
}

/// SHA-256 in hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    digest::digest(&digest::SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
