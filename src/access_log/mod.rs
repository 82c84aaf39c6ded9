//! The access log: one JSON object a line, from a bounded buffer that never blocks a request.
//!
//! Requests append under a short lock; a thread of its own takes the whole buffer and writes it. When the buffer is full,
//! lines are dropped and counted. No query, header value or body is ever written.

mod file;
mod line;
pub mod names;
pub mod sampling;

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

use crate::clock::Clock;
use crate::outcome::Outcome;
use file::Sink;
use line::line;
use sampling::Sampling;

/// Most bytes that wait for the writer.
const MOST_WAITING: usize = 8 * 1024 * 1024;
/// Longest time that a line waits before it is written.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// Without lines, rotation and retention are looked at this often.
const TEND_EVERY: Duration = Duration::from_secs(600);

/// What is written, where, and how long it stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where lines go.
    pub destination: Destination,
    /// When a file is full, and for how long full ones are kept.
    pub rotation: Rotation,
    /// Which lines are written.
    pub sampling: Sampling,
}

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

/// When a file is full, and for how long full ones are kept. `None` is never, and for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of a file.
    pub size: Option<u64>,
    /// Files end where a multiple of this ends, counted from 1970-01-01T00:00:00Z: `24h` is midnight UTC.
    pub every: Option<Duration>,
    /// Time from the end of a file to its removal.
    pub keep: Option<Duration>,
    /// Bytes of all files together.
    pub keep_size: Option<u64>,
}

/// The log's sending side; clones share one buffer.
#[derive(Clone)]
pub struct AccessLog {
    shared: Option<Arc<Shared>>,
    sampling: Sampling,
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
    reopening: bool,
    /// The last second that was written out, and its text without the `Z`: many lines share one.
    second: (i64, String),
}

/// Opens the destination and starts the writer.
///
/// # Errors
/// The file cannot be opened, or the thread not be started.
pub fn open(settings: &Settings, dropped: IntCounter, clock: &Clock) -> std::io::Result<(AccessLog, Writer)> {
    let Settings { destination, rotation, sampling } = settings;
    let Some(mut sink) = Sink::open(destination, *rotation, clock.wall())? else {
        return Ok((AccessLog::off(dropped), Writer { shared: None, thread: None }));
    };
    let shared = Arc::new(Shared::default());
    let (reader, lost, clock) = (Arc::clone(&shared), dropped.clone(), clock.clone());
    let thread = std::thread::Builder::new()
        .name("access-log".into())
        .spawn(move || write_whatever_happens(&reader, &mut sink, &lost, &clock))?;
    Ok((
        AccessLog { shared: Some(Arc::clone(&shared)), sampling: *sampling, dropped },
        Writer { shared: Some(shared), thread: Some(thread) },
    ))
}

impl AccessLog {
    /// One that is written nowhere.
    pub const fn off(dropped: IntCounter) -> Self {
        Self { shared: None, sampling: Sampling::ALL, dropped }
    }

    /// Appends one line, unless it is left out of the sample; or drops and counts it.
    pub fn write(&self, outcome: &Outcome<'_>) {
        let Some(shared) = &self.shared else { return };
        if self.sampling.leaves_out(outcome) {
            return;
        }
        let mut waiting = shared.waiting.lock();
        if waiting.bytes.len() >= MOST_WAITING {
            self.dropped.inc();
            return;
        }
        let first = waiting.bytes.is_empty();
        let second = outcome.at.unix_secs();
        if waiting.second.0 != second {
            let mut text = outcome.at.rfc3339();
            text.truncate(text.trim_end_matches('Z').len());
            waiting.second = (second, text);
        }
        let Waiting { bytes, second: (_, stamp), .. } = &mut *waiting;
        line(bytes, stamp, outcome, self.sampling);
        drop(waiting);
        if first {
            shared.wake.notify_one();
        }
    }

    /// Goes on in the file that has the log's name now: another program may have moved the open one away.
    pub fn reopen(&self) {
        if let Some(shared) = &self.shared {
            shared.waiting.lock().reopening = true;
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

/// Writes on after a panic: it costs the lines that were being written, and no others.
fn write_whatever_happens(shared: &Shared, sink: &mut Sink, dropped: &IntCounter, clock: &Clock) {
    let mut taken = Vec::new();
    loop {
        let writing = AssertUnwindSafe(|| write_until_closed(shared, sink, &mut taken, dropped, clock));
        if std::panic::catch_unwind(writing).is_ok() || shared.waiting.lock().closing {
            return;
        }
        lose(&mut taken, dropped);
    }
}

fn lose(taken: &mut Vec<u8>, dropped: &IntCounter) {
    let lines = memchr::memchr_iter(b'\n', taken).count();
    dropped.inc_by(u64::try_from(lines).unwrap_or(u64::MAX));
    taken.clear();
}

fn write_until_closed(
    shared: &Shared,
    sink: &mut Sink,
    taken: &mut Vec<u8>,
    dropped: &IntCounter,
    clock: &Clock,
) {
    let mut failing = false;
    loop {
        let mut waiting = shared.waiting.lock();
        let mut idle = false;
        while waiting.bytes.is_empty() && !waiting.closing && !waiting.reopening && !idle {
            idle = shared.wake.wait_for(&mut waiting, TEND_EVERY).timed_out();
        }
        if !waiting.closing && !waiting.reopening && !idle {
            // Gathers a batch: a write per request would cost more than the request.
            let _timed_out = shared.wake.wait_for(&mut waiting, FLUSH_EVERY);
        }
        std::mem::swap(&mut waiting.bytes, taken);
        let (closing, reopening) = (waiting.closing, std::mem::take(&mut waiting.reopening));
        drop(waiting);
        if reopening {
            sink.reopen(clock.wall());
        }
        match sink.write(taken, clock.wall()) {
            Ok(()) => failing = false,
            Err(error) => {
                lose(taken, dropped);
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
