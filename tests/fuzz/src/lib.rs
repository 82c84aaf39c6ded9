//! What the fuzzers run, and `tests/it/fuzz_smoke.rs` too: a function for each kind of hostile bytes. Each takes any bytes,
//! and panics where Sidelock breaks a promise.

mod input;

pub mod access_log;
pub mod api_key;
pub mod captured_delivery;
pub mod certificate;
pub mod configuration;
pub mod forwarded;
pub mod http2_head;
pub mod key_file;
pub mod operation;
pub mod pack;
pub mod proxy_header;
pub mod reply;
pub mod request_head;
pub mod sender_description;
pub mod telegram_update;
pub mod webhook_delivery;
pub mod webhook_fields;
mod webhook_schemes;

/// A target.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("access_log", access_log::run),
    ("api_key", api_key::run),
    ("captured_delivery", captured_delivery::run),
    ("certificate", certificate::run),
    ("configuration", configuration::run),
    ("forwarded", forwarded::run),
    ("http2_head", http2_head::run),
    ("key_file", key_file::run),
    ("operation", operation::run),
    ("pack", pack::run),
    ("proxy_header", proxy_header::run),
    ("reply", reply::run),
    ("request_head", request_head::run),
    ("sender_description", sender_description::run),
    ("telegram_update", telegram_update::run),
    ("webhook_delivery", webhook_delivery::run),
    ("webhook_fields", webhook_fields::run),
];
