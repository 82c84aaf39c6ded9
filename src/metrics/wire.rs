//! Connections that were refused; handshakes and certificates of listeners with TLS.

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounterVec, Registry};

use super::catalogue::{CONNECTIONS_DROPPED, CONNECTIONS_SHED, TLS_CERTIFICATE_EXPIRES, TLS_HANDSHAKES};
use super::{as_f64, counter_vec, opts};
use crate::clock::WallTime;

/// Metrics of connections.
pub struct Wire {
    shed: IntCounterVec,
    dropped: IntCounterVec,
    handshakes: IntCounterVec,
    expires: GaugeVec,
    /// The labels that `expires` has.
    shown: Mutex<Vec<(String, String)>>,
}

/// Which limit left no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// That on all connections.
    All,
    /// That on connections of one address.
    Address,
    /// That on TLS handshakes under way.
    Handshakes,
    /// That on requests over HTTP/2.
    Streams,
    /// That on connections to the admin listener.
    Admin,
}

/// Why a connection was closed before a byte of it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// Its address is banned.
    Banned,
    /// Its address is not one of those that may call.
    NotAllowed,
}

impl Shed {
    const ALL: [Self; 5] = [Self::All, Self::Address, Self::Handshakes, Self::Streams, Self::Admin];

    const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Address => "address",
            Self::Handshakes => "handshakes",
            Self::Streams => "streams",
            Self::Admin => "admin",
        }
    }
}

impl Dropped {
    const ALL: [Self; 2] = [Self::Banned, Self::NotAllowed];

    const fn word(self) -> &'static str {
        match self {
            Self::Banned => "banned",
            Self::NotAllowed => "not_allowed",
        }
    }
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
        let (shed, dropped) = (counter_vec(&CONNECTIONS_SHED)?, counter_vec(&CONNECTIONS_DROPPED)?);
        let handshakes = counter_vec(&TLS_HANDSHAKES)?;
        let expires = GaugeVec::new(opts(&TLS_CERTIFICATE_EXPIRES), TLS_CERTIFICATE_EXPIRES.labels)?;
        for counters in [&shed, &dropped, &handshakes] {
            registry.register(Box::new(counters.clone()))?;
        }
        registry.register(Box::new(expires.clone()))?;
        // `rate()` needs the zero.
        for reason in Shed::ALL {
            shed.with_label_values(&[reason.word()]).inc_by(0);
        }
        for reason in Dropped::ALL {
            dropped.with_label_values(&[reason.word()]).inc_by(0);
        }
        for result in Handshake::ALL {
            handshakes.with_label_values(&[result.word()]).inc_by(0);
        }
        Ok(Self { shed, dropped, handshakes, expires, shown: Mutex::default() })
    }

    /// There was no place.
    pub fn shed(&self, reason: Shed) {
        self.shed.with_label_values(&[reason.word()]).inc();
    }

    /// A connection was closed unread.
    pub fn dropped(&self, reason: Dropped) {
        self.dropped.with_label_values(&[reason.word()]).inc();
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
