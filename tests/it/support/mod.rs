//! What every test stands on: a gateway, a stub CRM, and a client that sends exactly the bytes it is given.

pub mod bot_api;
pub mod client;
pub mod crm;
pub mod gateway;
pub mod h2;
pub mod ledger;
pub mod office;
pub mod switch;
pub mod tls;

use std::time::{Duration, Instant};

/// The longest that any event may take; reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until `happened` gives a value, and fails at the deadline.
pub fn eventually<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = happened() {
            return value;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}
