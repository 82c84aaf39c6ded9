//! The access log: one JSON object a line, from a bounded buffer that never blocks a request.
//!
//! Requests append under a short lock; a thread of its own takes the whole buffer and writes it. When the buffer is full,
//! lines are dropped and counted. No query, header value or body is ever written.

pub mod names;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

use http::uri::PathAndQuery;

use crate::outcome::{Caller, Outcome};

/// Most bytes that wait for the writer.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// Longest time that a line waits before it is written.
const FLUSH_EVERY: Duration = Duration::from_millis(100);

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A file, appended to.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Nowhere.
    Off,
}

/// The log's sending side; clones share one buffer.
#[derive(Clone)]
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
    dropped: IntCounter,
}

/// The writing side. Dropping it writes what is left.
#[derive(Debug)]
pub struct Writer {
    shared: Option<Arc<Shared>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    closing: bool,
    /// The last second that was written out, and its text: many lines share one.
    second: (i64, String),
}

/// Opens the destination and starts the writer.
///
/// # Errors
/// The file cannot be opened, or the thread not be started.
pub fn open(destination: &Destination, dropped: IntCounter) -> std::io::Result<(AccessLog, Writer)> {
    let sink: Box<dyn Write + Send> = match destination {
        Destination::Off => {
            return Ok((AccessLog { shared: None, dropped }, Writer { shared: None, thread: None }));
        }
        Destination::Stdout => Box::new(std::io::stdout()),
        Destination::File(path) => {
            Box::new(std::fs::OpenOptions::new().create(true).append(true).open(path)?)
        }
    };
    let shared = Arc::new(Shared::default());
    let reader = Arc::clone(&shared);
    let lost = dropped.clone();
    let thread = std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || write_until_closed(&reader, sink, &lost))?;
    Ok((
        AccessLog { shared: Some(Arc::clone(&shared)), dropped },
        Writer { shared: Some(shared), thread: Some(thread) },
    ))
}

impl AccessLog {
    /// Appends one line, or drops and counts it.
    pub fn write(&self, outcome: &Outcome<'_>) {
        let Some(shared) = &self.shared else { return };
        let mut waiting = shared.waiting.lock();
        if waiting.bytes.len() >= MOST_WAITING {
            self.dropped.inc();
            return;
        }
        let first = waiting.bytes.is_empty();
        let second = outcome.at.unix_secs();
        if waiting.second.0 != second {
            waiting.second = (second, outcome.at.rfc3339());
        }
        let Waiting { bytes, second: (_, stamp), .. } = &mut *waiting;
        line(bytes, stamp, outcome);
        drop(waiting);
        if first {
            shared.wake.notify_one();
        }
    }
}

impl std::fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessLog").finish_non_exhaustive()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.waiting.lock().closing = true;
            shared.wake.notify_one();
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the access log's writer panicked");
        }
    }
}

fn write_until_closed(shared: &Shared, mut sink: Box<dyn Write + Send>, dropped: &IntCounter) {
    let mut taken = Vec::new();
    let mut failing = false;
    loop {
        let mut waiting = shared.waiting.lock();
        while waiting.bytes.is_empty() && !waiting.closing {
            shared.wake.wait(&mut waiting);
        }
        if !waiting.closing {
            // Gathers a batch: a write per request would cost more than the request.
            let _timed_out = shared.wake.wait_for(&mut waiting, FLUSH_EVERY);
        }
        std::mem::swap(&mut waiting.bytes, &mut taken);
        let closing = waiting.closing;
        drop(waiting);
        match sink.write_all(&taken).and_then(|()| sink.flush()) {
            Ok(()) => failing = false,
            Err(error) => {
                let lines = taken.iter().filter(|byte| **byte == b'\n').count();
                dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
                if !failing {
                    tracing::error!(%error, "the access log cannot be written; lines are dropped and counted");
                }
                failing = true;
            }
        }
        taken.clear();
        if closing {
            return;
        }
    }
}

/// One line. Fields that are not known are left out.
fn line(out: &mut Vec<u8>, second: &str, outcome: &Outcome<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    out.extend_from_slice(second.trim_end_matches('Z').as_bytes());
    let millis = u16::try_from(outcome.at.unix_millis().rem_euclid(1000)).unwrap_or(0);
    out.push(b'.');
    let [hundreds, tens, ones] =
        [millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0));
    out.extend_from_slice(&[hundreds, tens, ones]);
    out.extend_from_slice(b"Z\"");
    plain(out, b",\"id\":\"", outcome.request_id.as_str());
    match outcome.client {
        // An address has no character that JSON escapes.
        Some(client) => plain(out, b",\"client\":\"", &client.ip().to_string()),
        None => plain(out, b",\"client\":\"", outcome.peer),
    }
    plain(out, b",\"method\":\"", outcome.method.as_str());
    field(out, b",\"path\":\"", outcome.path.map_or("[hidden]", PathAndQuery::path));
    plain(out, b",\"route\":\"", outcome.route);
    if let Caller::Key(holder) = outcome.caller {
        plain(out, b",\"key\":\"", holder.key.id.as_str());
    }
    if let Some(scope) = outcome.scope {
        plain(out, b",\"scope\":\"", scope.as_str());
    }
    if let Some(status) = outcome.status {
        count(out, b",\"status\":", u64::from(status.as_u16()));
    }
    if let Some(denial) = outcome.denial {
        plain(out, b",\"reason\":\"", denial.reason());
        if let crate::denial::Denial::Ambiguous(what) = denial {
            plain(out, b",\"detail\":\"", what.word());
        }
    }
    if let Some(observed) = outcome.observed {
        plain(out, b",\"observed\":\"", observed.reason());
    }
    if let Some(delivery) = outcome.delivery.word() {
        plain(out, b",\"delivery\":\"", delivery);
    }
    plain(out, b",\"end\":\"", outcome.ending.word());
    count(out, b",\"bytes_in\":", outcome.bytes_in);
    count(out, b",\"bytes_out\":", outcome.bytes_out);
    count(out, b",\"us\":", micros(outcome.total));
    if let Some(upstream) = outcome.upstream {
        count(out, b",\"upstream_us\":", micros(upstream));
    }
    out.extend_from_slice(b"}\n");
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A value whose grammar has nothing that JSON escapes: a token, a name, an address. `start` is `,"name":"`.
fn plain(out: &mut Vec<u8>, start: &[u8], value: &str) {
    out.extend_from_slice(start);
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

/// A number. `start` is `,"name":`.
fn count(out: &mut Vec<u8>, start: &[u8], value: u64) {
    out.extend_from_slice(start);
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn field(out: &mut Vec<u8>, start: &[u8], value: &str) {
    out.extend_from_slice(start);
    let fits = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f;
    if value.bytes().all(fits) {
        out.extend_from_slice(value.as_bytes());
    } else {
        for byte in value.bytes() {
            match byte {
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                // Writing to a Vec does not fail.
                other if !fits(other) => drop(write!(out, "\\u{byte:04x}")),
                other => out.push(other),
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings() {
        let mut out = Vec::new();
        count(&mut out, b",\"n\":", u64::MAX);
        field(&mut out, b",\"p\":\"", "a\"\\\n\u{1b}é");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            ",\"n\":18446744073709551615,\"p\":\"a\\\"\\\\\\u000a\\u001bé\""
        );
    }
}
