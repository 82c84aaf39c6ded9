//! The change record: who changed which key when, one JSON object a line, each with the SHA-256 of the line before.
//!
//! [`record`] appends, [`verify`] finds what was altered, removed or put in another order. Beside the record a small head
//! file keeps its length and the hash of its last line, so that a cut tail is found too. Whoever may write in the state
//! folder could make all of it anew: the record shows slips and tampering with the file, and is worth most where its lines
//! are also sent elsewhere.

pub mod line;
pub mod record;
pub mod verify;
pub mod who;

/// The record, in the state folder.
pub const FILE: &str = "changes.ndjson";
/// Its length and last hash, beside it.
pub const HEAD: &str = "changes.head";
