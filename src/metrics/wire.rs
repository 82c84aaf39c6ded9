//! Handshakes and certificates of listeners with TLS.

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounterVec, Registry};

use super::catalogue::{TLS_CERTIFICATE_EXPIRES, TLS_HANDSHAKES};
use super::{as_f64, counter_vec, opts};
use crate::clock::WallTime;

/// Metrics of TLS.
pub struct Wire {
    handshakes: IntCounterVec,
    expires: GaugeVec,
    /// The labels that `expires` has.
    shown: Mutex<Vec<(String, String)>>,
}

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Well.
    Done,
    /// The two sides could not agree, or the client's certificate was not accepted.
    Failed,
    /// Not in time.
    TimedOut,
    /// It was not begun: too many are under way.
    Shed,
}

impl Handshake {
    const ALL: [Self; 4] = [Self::Done, Self::Failed, Self::TimedOut, Self::Shed];

    const fn word(self) -> &'static str {
        match self {
            Self::Done => "ok",
            Self::Failed => "failed",
            Self::TimedOut => "timeout",
            Self::Shed => "shed",
        }
    }
}

impl Wire {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let handshakes = counter_vec(&TLS_HANDSHAKES)?;
        let expires = GaugeVec::new(opts(&TLS_CERTIFICATE_EXPIRES), TLS_CERTIFICATE_EXPIRES.labels)?;
        registry.register(Box::new(handshakes.clone()))?;
        registry.register(Box::new(expires.clone()))?;
        // `rate()` needs the zero.
        for result in Handshake::ALL {
            handshakes.with_label_values(&[result.word()]).inc_by(0);
        }
        Ok(Self { handshakes, expires, shown: Mutex::default() })
    }

    /// A handshake ended.
    pub fn shook(&self, result: Handshake) {
        self.handshakes.with_label_values(&[result.word()]).inc();
    }

    /// From now on these are the certificates in force: listener, first name, end.
    pub fn certificates(&self, certificates: impl Iterator<Item = (String, String, WallTime)>) {
        let mut shown = self.shown.lock();
        for (listener, name) in shown.drain(..) {
            // It was set when it was noted.
            drop(self.expires.remove_label_values(&[&listener, &name]));
        }
        for (listener, name, ends) in certificates {
            let ends = as_f64(u64::try_from(ends.unix_secs()).unwrap_or(0));
            self.expires.with_label_values(&[&listener, &name]).set(ends);
            shown.push((listener, name));
        }
    }
}
