//! Sidelock: a lock for the CRM you already have.
//!
//! One request, in file order: `proxy` accepts it, [`gate`] decides in straight-line code
//! ([`request_head`] → [`client_addr`] → route → [`credential`] → [`keys`] → [`policy`] → [`limits`]),
//! `proxy` forwards what was admitted, and [`outcome`] tells [`metrics`] and [`access_log`] how it ended.
//!
//! Modules have ranks and import only from lower ranks; `tests/it/tidy.rs` holds the table and checks it.

// 0: words that everyone uses; no I/O but sockets
pub mod clock;
pub mod denial;
pub mod networks;
pub mod secret;
pub mod socket;
pub mod supervisor;

// 1 to 2: what must go on, the request, TLS (which reads the files that it is given), and who is calling
pub mod request_head;
pub mod tls;
pub mod vitals;

pub mod client_addr;
pub mod credential;

// 3 and 4: what they may do, and how often
pub mod policy;

pub mod limits;

// 5 and 6: what is stored about keys; how a request ended
pub mod keys;

pub mod outcome;

// 7 and 8: the decision, in order; the record, and how it is read back
pub mod access_log;
pub mod gate;

pub mod metrics;
pub mod records;

// 9: text to the types above; the record of who changed what
pub mod changes;
pub mod config;

// 10 to 12: hyper and pingora; the key file edited by commands; figures out of the record
pub mod admin;
pub mod editing;
pub mod report;
pub mod telegram;

pub mod proxy;

pub mod reload;

// 13: composition; the gate asked without a process
pub mod server;
pub mod trial;

// 14: a file per verb
pub mod cli;
