//! One binary for all integration tests that need nothing but Rust: real sockets on loopback, a stub CRM that keeps every
//! byte it got.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::missing_errors_doc,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic, and deadlines need a clock"
)]

mod support;

mod abuse;
mod abuse_bytes;
mod bans;
mod bodies;
mod bounds;
mod check;
mod client_certificates;
mod commands;
mod credentials;
mod crm_packs;
mod cut;
mod decoys;
mod deliveries;
mod documents;
mod doors;
mod drain;
mod dropped;
mod editing;
mod explain;
mod forwarding;
mod found;
mod fuzz_smoke;
mod handover;
mod handover_trouble;
mod hidden;
mod last_used;
mod lifecycle;
mod limits;
mod log;
mod metrics;
mod observe;
mod origins;
mod packs;
mod panics;
mod records;
mod reload;
mod replay;
mod report;
mod rest;
mod rotation;
mod secrets;
mod systemd;
mod targets;
mod telegram;
mod telegram_watch;
mod tidy;
mod trouble;
mod unread;
mod upgrade;
mod upstream_config;
mod upstream_races;
mod upstreams;
mod upstreams_down;
mod webhook_config;
mod webhook_replay;
mod webhook_verify;
mod webhooks;
mod wire_answers;
mod wire_config;
mod wire_doors;
mod wire_h2;
mod wire_h2_abuse;
mod wire_h2_streams;
mod wire_requests;
mod wire_tls;
