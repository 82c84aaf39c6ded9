//! Asking the running process: its admin listener, where it must be with the pass that it left in the state folder.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::terminal::plain;
use super::{Failure, show, tally};
use crate::admin::pass::{Door, Pass};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::environment::Environment;
use crate::config::load::{Loaded, load};

/// How long the process may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest answer, in bytes: it is bounded there too.
const MOST_BYTES: usize = 16 << 20;

/// A process that can be asked.
pub(super) struct Process {
    /// What its configuration says now.
    pub(super) config: Config,
    door: Door,
}

impl Process {
    /// The one that runs with this configuration.
    ///
    /// # Errors
    /// The configuration has mistakes, or no process runs with it.
    pub(super) fn find(config: &Path) -> Result<Self, Failure> {
        let loading = load(config, &Environment::Unread);
        let Some(Loaded { config, .. }) = loading.loaded else {
            show(&loading);
            return Err(Failure::Mistakes(tally(&loading)));
        };
        match Door::read(&config.server.state_dir) {
            Ok(Some(door)) => Ok(Self { config, door }),
            Ok(None) => Err(Failure::Failed("admin.json in the state folder is damaged".to_owned())),
            Err(error) => {
                let why = format!("no process runs with this configuration (admin.json: {error})");
                Err(Failure::Failed(why))
            }
        }
    }

    /// Sends a request without a body.
    ///
    /// # Errors
    /// The process does not answer, or refuses.
    pub(super) fn ask(&self, method: &str, target: &str) -> Result<Value, Failure> {
        self.ask_patiently(method, target, PATIENCE)
    }

    /// Sends a request without a body, whose answer may take so long.
    ///
    /// # Errors
    /// The process does not answer, or refuses.
    pub(super) fn ask_patiently(
        &self,
        method: &str,
        target: &str,
        patience: Duration,
    ) -> Result<Value, Failure> {
        let address = self.door.address;
        let answer = exchange(address, method, target, Some(&self.door.pass), patience)
            .map_err(|error| Failure::Failed(format!("the process does not answer on {address}: {error}")))?;
        let broken = || Failure::Failed(format!("{address} is not this Sidelock's admin listener"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let value: Value = serde_json::from_str(body).map_err(|_| broken())?;
        match (head.split(' ').nth(1), value.get("error").and_then(Value::as_str)) {
            (Some("200"), _) => Ok(value),
            (Some("409"), Some(why)) => Err(Failure::Refused(plain(why))),
            (_, Some(why)) => Err(Failure::Failed(plain(why))),
            (_, None) => Err(broken()),
        }
    }
}

/// A request without a body, and all that was answered.
///
/// # Errors
/// Nobody listens there, or the answer did not come in time.
pub(super) fn exchange(
    address: SocketAddr,
    method: &str,
    target: &str,
    pass: Option<&Pass>,
    patience: Duration,
) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    stream.write_all(head.as_bytes())?;
    if let Some(pass) = pass {
        stream.write_all(pass.line().expose())?;
    }
    stream.write_all(b"\r\n")?;
    String::from_utf8(read_within(stream, patience)?).map_err(|_| ErrorKind::InvalidData.into())
}

/// All that comes until the end, which must come in time.
fn read_within(mut stream: TcpStream, patience: Duration) -> std::io::Result<Vec<u8>> {
    let late = || std::io::Error::new(ErrorKind::TimedOut, format!("no whole answer within {patience:?}"));
    let clock = Clock::system();
    let began = clock.monotonic();
    let (mut answer, mut chunk) = (Vec::new(), [0; 16 << 10]);
    loop {
        let left = patience.saturating_sub(clock.monotonic().since(began));
        if left.is_zero() {
            return Err(late());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Err(late());
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if answer.len() > MOST_BYTES {
            return Err(ErrorKind::FileTooLarge.into());
        }
    }
}

/// Lines of a table: the fields of each item of a list, in order, under their heads.
pub(super) fn table(list: Option<&Value>, columns: &[(&str, &str)]) -> Vec<String> {
    let cell = |item: &Value, field: &str| match item.get(field) {
        Some(Value::String(text)) => plain(text),
        None | Some(Value::Null) => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let items = list.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let heads = columns.iter().map(|(head, _)| (*head).to_owned()).collect();
    let rows = items.iter().map(|item| columns.iter().map(|(_, field)| cell(item, field)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns.len()).map(|at| width(at).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
