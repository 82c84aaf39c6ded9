//! Connections end when the key that they carry does.
//!
//! A request is judged once, but a WebSocket, an event stream or a slow upload outlives that judgement. So every client
//! connection notes the digest of the key that it carries, and when keys change, or their time is over, all notes are
//! looked up again: what no longer proves anybody is cut in both directions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use dashmap::DashMap;
use parking_lot::Mutex;
use prometheus::Histogram;

use crate::clock::{Clock, WallTime};
use crate::credential::api_key::KeyDigest;
use crate::keys::set::KeySet;

/// The lifelines of all open connections, tunnels included; as many as there are connections.
#[derive(Debug)]
pub struct Lifelines {
    open: DashMap<u64, Arc<Line>>,
    next: AtomicU64,
    /// Seconds from an edit to the end of a connection.
    revocation: Histogram,
    clock: Clock,
}

/// One connection's. Dropping it takes it from the list.
#[derive(Debug)]
pub struct Lifeline {
    line: Arc<Line>,
    number: u64,
    all: Arc<Lifelines>,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    /// The connection that ends with it, where this one is of one of its requests.
    within: Option<Arc<Self>>,
    carries: Mutex<Option<KeyDigest>>,
    is_cut: AtomicBool,
    /// The edit that ended the key; none for a key whose time was over.
    edited: Mutex<Option<WallTime>>,
    task: Mutex<Option<Waker>>,
}

impl Lifelines {
    /// None yet. `revocation` records seconds from an edit to the end of a connection that it cut.
    pub fn new(revocation: Histogram, clock: &Clock) -> Arc<Self> {
        Arc::new(Self { open: DashMap::new(), next: AtomicU64::new(0), revocation, clock: clock.clone() })
    }

    /// A lifeline for a new connection.
    pub fn open(self: &Arc<Self>) -> Lifeline {
        self.add(Line::default())
    }

    /// A lifeline for one of several requests over one connection at once: whoever cuts it cuts the connection.
    pub(super) fn open_within(self: &Arc<Self>, connection: &Arc<Line>) -> Lifeline {
        self.add(Line { within: Some(Arc::clone(connection)), ..Line::default() })
    }

    fn add(self: &Arc<Self>, line: Line) -> Lifeline {
        let (line, number) = (Arc::new(line), self.next.fetch_add(1, Ordering::Relaxed));
        self.open.insert(number, Arc::clone(&line));
        Lifeline { line, number, all: Arc::clone(self) }
    }

    /// Cuts every connection whose key proves nobody any more, by the edit at `edited` or because its time is over. Tells
    /// how many.
    pub fn cut(&self, keys: &KeySet, edited: Option<WallTime>) -> usize {
        let now = self.clock.wall();
        // Under the lock: meanwhile the connection cannot move on to another key.
        let cuts = |line: &Line| {
            let carried = line.carries.lock();
            let is_over = carried.is_some_and(|digest| keys.prove(&digest, now).is_err());
            if is_over && !line.is_cut.load(Ordering::Acquire) {
                *line.edited.lock() = edited;
                line.is_cut.store(true, Ordering::Release);
                return true;
            }
            false
        };
        let cut: Vec<Arc<Line>> =
            self.open.iter().filter(|line| cuts(line)).map(|line| Arc::clone(&line)).collect();
        cut.iter()
            .map(|line| {
                line.wake();
                if let Some(connection) = &line.within {
                    connection.is_cut.store(true, Ordering::Release);
                    connection.wake();
                }
            })
            .count()
    }
}

impl Line {
    fn wake(&self) {
        if let Some(task) = self.task.lock().take() {
            task.wake();
        }
    }
}

impl Lifeline {
    /// For [`Lifelines::open_within`].
    pub(super) fn line(&self) -> Arc<Line> {
        Arc::clone(&self.line)
    }

    /// From now on the connection carries requests of this key, or of none.
    pub fn carry(&self, key: Option<KeyDigest>) {
        *self.line.carries.lock() = key;
    }

    /// True once the connection must end.
    pub fn is_cut(&self) -> bool {
        self.line.is_cut.load(Ordering::Acquire)
    }

    /// Ready once the connection must end.
    pub fn poll_cut(&self, cx: &Context<'_>) -> Poll<()> {
        *self.line.task.lock() = Some(cx.waker().clone());
        // After the waker is there: a cut in between is seen here.
        if self.is_cut() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.all.open.remove(&self.number);
        // By now both sides are closed: no further byte can pass.
        if let Some(edited) = self.line.edited.lock().take() {
            self.all.revocation.observe(self.all.clock.wall().since(edited).as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::config::Names;
    use crate::config::key_file;
    use crate::config::source::Source;
    use crate::keys::state::KeyStates;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn keys(blocks: &str, clock: &Clock) -> KeySet {
        let source = Source { path: "keys.toml".into(), text: blocks.to_owned() };
        let (file, _, report) = key_file::parse(&source, &Names::default());
        let file = file.unwrap_or_else(|| panic!("{}", report.summary(&[source])));
        KeySet::join(file.keys, &KeyStates::new(clock), "1/s".parse().unwrap())
    }

    #[test]
    fn a_connection_ends_with_its_key_and_no_other() {
        let time = ManualClock::at(WallTime::from_unix_secs(1_700_000_000));
        let clock = time.clock();
        let block = |id: &str, lines: &str| {
            let digest = KeyDigest::of(id.as_bytes());
            format!("[[key]]\nid = \"{id}\"\ntitle = \"{id}\"\ndigest = \"{digest}\"\nscopes = []\n{lines}\n")
        };
        let brief = block("brief", "expires = 2023-11-14T22:13:30Z");
        let both = keys(&format!("{brief}{}", block("long", "")), &clock);
        let histogram = Histogram::with_opts(prometheus::HistogramOpts::new("h", "h")).unwrap();
        let lifelines = Lifelines::new(histogram.clone(), &clock);
        let lines = ["brief", "long", ""].map(|id| {
            let (line, count) = (lifelines.open(), Arc::new(Count::default()));
            line.carry((!id.is_empty()).then(|| KeyDigest::of(id.as_bytes())));
            assert!(line.poll_cut(&Context::from_waker(&Waker::from(Arc::clone(&count)))).is_pending());
            (line, count)
        });
        let cut = || lines.each_ref().map(|(line, count)| (line.is_cut(), count.0.load(Ordering::Relaxed)));
        assert_eq!(lifelines.cut(&both, None), 0);
        time.advance(Duration::from_secs(10));
        assert_eq!(lifelines.cut(&both, None), 1);
        assert_eq!(cut(), [(true, 1), (false, 0), (false, 0)]);
        assert_eq!(lifelines.cut(&both, None), 0, "once");
        let edited = Some(clock.wall());
        assert_eq!(lifelines.cut(&keys(&brief, &clock), edited), 1, "a key that left the file is revoked");
        assert_eq!(cut(), [(true, 1), (true, 1), (false, 0)]);
        time.advance(Duration::from_secs(2));
        drop(lines);
        assert_eq!(lifelines.open.len(), 0);
        assert_eq!((histogram.get_sample_count(), histogram.get_sample_sum()), (1, 2.0));
    }
}
