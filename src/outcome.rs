//! How a request ended, as a value: metrics and the access log are told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, Method, StatusCode};
use prometheus::{Histogram, IntCounter, IntGauge};

use crate::client_addr::ClientAddr;
use crate::clock::WallTime;
use crate::denial::{Denial, Observed};
use crate::keys::set::Holder;
use crate::keys::state::CLASSES;
use crate::policy::hours::Opening;
use crate::policy::scope::ScopeName;
use crate::policy::senders::{Familiarity, Judgement, Sender};

/// Who sent a request, as far as it is proved.
#[derive(Clone, Debug, Default)]
pub enum Caller {
    /// Nobody known: a stranger, or a request refused before anyone was asked.
    #[default]
    Unknown,
    /// A route that needs no key, or a proved webhook delivery.
    Keyless,
    /// The holder of a stored key, whether or not it was admitted.
    Key(Arc<Holder>),
}

/// The route label of everything that needs a key.
pub const API_ROUTE: &str = "api";
/// The route label of requests refused before they had a route.
pub const NO_ROUTE: &str = "none";

/// One route's record: its name, its counters by status class, its histograms.
#[derive(Debug)]
pub struct RouteStats {
    name: Arc<str>,
    /// From the complete head to the last byte, in seconds.
    pub duration: Histogram,
    /// From sending the request to the CRM to its response head, in seconds.
    pub upstream: Histogram,
    unknown: [AtomicU64; CLASSES.len()],
    keyless: [AtomicU64; CLASSES.len()],
}

impl RouteStats {
    /// A record that starts at zero.
    pub fn new(name: Arc<str>, duration: Histogram, upstream: Histogram) -> Self {
        Self { name, duration, upstream, unknown: Default::default(), keyless: Default::default() }
    }

    /// The route's name.
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Counts an answer to a caller without a key.
    pub fn answered(&self, proved: bool, status: StatusCode) {
        let counters = if proved { &self.keyless } else { &self.unknown };
        if let Some(counter) = counters.get(usize::from(status.as_u16() / 100).wrapping_sub(1)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers as `(key label, class, count)`, those that happened at all.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let of = |label: &'static str, counters: &[AtomicU64; CLASSES.len()]| {
            let counts: Vec<u64> = counters.iter().map(|counter| counter.load(Ordering::Relaxed)).collect();
            CLASSES.iter().copied().zip(counts).map(move |(class, count)| (label, class, count))
        };
        of("unknown", &self.unknown).chain(of("none", &self.keyless)).filter(|(_, _, count)| *count > 0)
    }
}

/// One webhook's counters of judged senders, resolved once.
#[derive(Debug)]
pub struct SenderStats {
    /// In the order of [`Self::LABELS`].
    counters: [IntCounter; 4],
    new: IntCounter,
}

impl SenderStats {
    /// The values of the labels `sender` and `hours`, in the order of the counters.
    pub const LABELS: [(&str, &str); 4] =
        [("expected", "in"), ("expected", "out"), ("unexpected", "in"), ("unexpected", "out")];

    /// Asks for one counter for each of [`Self::LABELS`]; `new` counts updates of new accounts.
    pub fn new(counter: impl Fn(&str, &str) -> IntCounter, new: IntCounter) -> Self {
        Self { counters: Self::LABELS.map(|(sender, hours)| counter(sender, hours)), new }
    }

    /// An update was judged. Blocked senders count as unexpected.
    pub fn judged(&self, judgement: &Judgement) {
        let [expected_in, expected_out, unexpected_in, unexpected_out] = &self.counters;
        let counter = match (judgement.sender, judgement.hours) {
            (Sender::Expected, Opening::In) => expected_in,
            (Sender::Expected, Opening::Out) => expected_out,
            (Sender::Unexpected | Sender::Blocked, Opening::In) => unexpected_in,
            (Sender::Unexpected | Sender::Blocked, Opening::Out) => unexpected_out,
        };
        counter.inc();
        if judgement.familiarity == Familiarity::New {
            self.new.inc();
        }
    }
}

/// Everything that is recorded of one request.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// When the head was complete.
    pub at: WallTime,
    /// The id that the client was told.
    pub request_id: RequestId,
    /// The client's address, where it is not the connection's own.
    pub client: Option<ClientAddr>,
    /// The address of the connection, written out once.
    pub peer: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The path as sent; the query with it is never written down. `None` where it could hold a credential.
    pub path: Option<&'a PathAndQuery>,
    /// The name of the route.
    pub route: &'a str,
    /// Who sent it.
    pub caller: &'a Caller,
    /// The scope that allowed it.
    pub scope: Option<&'a ScopeName>,
    /// The status that the client got; `None` if it left before an answer.
    pub status: Option<StatusCode>,
    /// Why it was refused.
    pub denial: Option<Denial>,
    /// What would have been refused, if the key were not only observed.
    pub observed: Option<Observed>,
    /// What became of a webhook delivery.
    pub delivery: DeliveryResult,
    /// Who sent an update, and whether somebody was there, by the rules about senders.
    pub judged: Option<(Sender, Opening)>,
    /// How it ended.
    pub ending: Ending,
    /// Body bytes from the client.
    pub bytes_in: u64,
    /// Body bytes to the client.
    pub bytes_out: u64,
    /// From the complete head to the last byte.
    pub total: Duration,
    /// From sending the request to the CRM to its response head.
    pub upstream: Option<Duration>,
}

/// What became of a webhook delivery that was not refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The CRM got it.
    Forwarded,
    /// The CRM has it already.
    Duplicate,
    /// It was a handshake, and answered here.
    Handshake,
    /// Rules about senders keep it from the CRM.
    Withheld,
}

impl DeliveryResult {
    /// Every value of [`Self::word`].
    pub const WORDS: [&str; 3] = ["duplicate", "handshake", "withheld"];

    /// The label value in metrics and the word in the access log, where it is not the CRM's to say.
    pub const fn word(self) -> Option<&'static str> {
        match self {
            Self::Forwarded => None,
            Self::Duplicate => Some("duplicate"),
            Self::Handshake => Some("handshake"),
            Self::Withheld => Some("withheld"),
        }
    }
}

/// One webhook's record of its deliveries: counters and moments that need no look-up.
#[derive(Debug)]
pub struct DeliveryStats {
    accepted: IntCounter,
    last_success: IntGauge,
    /// Uses and last use of each secret, in the order of the configuration.
    secrets: Vec<(IntCounter, IntGauge)>,
}

impl DeliveryStats {
    /// From the handles.
    pub const fn new(
        accepted: IntCounter,
        last_success: IntGauge,
        secrets: Vec<(IntCounter, IntGauge)>,
    ) -> Self {
        Self { accepted, last_success, secrets }
    }

    /// The CRM took a delivery that came `at`.
    pub fn accepted(&self, at: WallTime) {
        self.accepted.inc();
        self.last_success.set(at.unix_secs());
    }

    /// The secret at this position proved a delivery that came `at`.
    pub fn proved_by(&self, index: usize, at: WallTime) {
        if let Some((uses, last_use)) = self.secrets.get(index) {
            uses.inc();
            last_use.set(at.unix_secs());
        }
    }
}

/// How the exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The answer was sent whole.
    Complete,
    /// The client left before the end; the CRM may have acted on the request.
    ClientGone,
    /// The CRM's answer broke off.
    UpstreamBroke,
    /// A tunnel was ended because the process stops.
    Drained,
    /// The key was revoked, or its time ended, before the exchange did.
    KeyOver,
}

impl Ending {
    /// The word for the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientGone => "client_gone",
            Self::UpstreamBroke => "upstream_broke",
            Self::Drained => "drained",
            Self::KeyOver => "key_over",
        }
    }
}

/// An id that the client's answer, the CRM's request and the access log share: 16 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// The id of request `number` of the process whose random `seed` is given.
    pub fn new(seed: u64, number: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut value = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut text = [b'0'; 16];
        for slot in text.iter_mut().rev() {
            *slot = usize::try_from(value & 15).ok().and_then(|at| DIGITS.get(at)).copied().unwrap_or(b'0');
            value >>= 4;
        }
        Self(text)
    }

    /// The id as a header's value.
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_| HeaderValue::from_static("none"))
    }

    /// A number that is the same for the same id, and for no two ids in a row near another: for drawing samples.
    pub fn draw(&self) -> u32 {
        let first = self.0.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        u32::try_from(first.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).unwrap_or_default()
    }

    /// The id's text, as bytes.
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::senders::{Action, Familiarity};

    #[test]
    fn each_judgement_counts_once_and_blocked_senders_are_unexpected() {
        let registry = parking_lot::Mutex::new(Vec::new());
        let stats = SenderStats::new(
            |sender, hours| {
                let counter = IntCounter::new("c", "c").unwrap();
                registry.lock().push((format!("{sender} {hours}"), counter.clone()));
                counter
            },
            IntCounter::new("n", "n").unwrap(),
        );
        for (sender, hours, expected) in [
            (Sender::Expected, Opening::In, "expected in"),
            (Sender::Expected, Opening::Out, "expected out"),
            (Sender::Unexpected, Opening::In, "unexpected in"),
            (Sender::Blocked, Opening::Out, "unexpected out"),
        ] {
            let familiarity = Familiarity::Known;
            stats.judged(&Judgement { update_id: 1, sender, familiarity, hours, action: Action::Count });
            let mut counted = registry.lock();
            for (name, counter) in counted.iter_mut() {
                assert_eq!(counter.get(), u64::from(name == expected), "{name}");
                counter.reset();
            }
        }
    }
}
