//! Sidelock: a lock for the CRM you already have.
//!
//! One request, in file order: `proxy` accepts it, [`gate`] decides in straight-line code
//! ([`request_head`] → [`client_addr`] → route → [`credential`] → [`keys`] → [`policy`] → [`limits`]),
//! `proxy` forwards what was admitted, and [`outcome`] tells [`metrics`] and [`access_log`] how it ended.
//!
//! Modules have ranks and import only from lower ranks; `tests/it/tidy.rs` holds the table and checks it.

// rank 0: words that everyone uses, no I/O
pub mod clock;
pub mod denial;
pub mod networks;
pub mod request_head;
pub mod secret;

// rank 1: who is calling
pub mod client_addr;
pub mod credential;

// rank 2: what they may do
pub mod policy;

// rank 3: how often
pub mod limits;

// rank 4: what is stored about keys; how a request ended
pub mod keys;
pub mod outcome;

// rank 5: the decision, in order; the record
pub mod access_log;
pub mod gate;
pub mod metrics;

// rank 6: text to the types above
pub mod config;

// rank 7: hyper and pingora
pub mod admin;
pub mod proxy;
pub mod reload;

// rank 8: composition
pub mod server;

// rank 9: a file per verb
pub mod cli;
