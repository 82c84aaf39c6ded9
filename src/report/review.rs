//! The weekly review: who asked how much, who was refused, what nobody uses.

mod keys;

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::tops::Tops;
use super::volume::{BINS, Periods, Volume};
use super::{Counted, DECOY, Span, Stamp, is_credential, network};
use crate::clock::WallTime;
use crate::keys::key::Key;
use crate::keys::last_used::LastUsed;
use crate::records::line::Record;

pub use keys::{Expiring, KeyVolume, Overprivileged, Unused};
use keys::{KeyTally, about};

/// Keys that are told apart. Ids come from the key file alone.
const MOST_KEYS: usize = 100_000;
/// Addresses with refused credentials that are told apart for certain.
const MOST_ADDRESSES: usize = 10_000;
/// Words and names that are told apart.
const MOST_WORDS: usize = 200;
/// Addresses that are reported.
const SHOWN_ADDRESSES: usize = 100;
/// A key that was unused for so long is worth a question: 30 days.
pub const UNUSED: Duration = Duration::from_secs(30 * 86_400);

/// What is counted while the log is read.
#[derive(Debug)]
pub struct Review {
    periods: Periods,
    begins: Option<WallTime>,
    allowed: [u64; BINS],
    refused: [u64; BINS],
    credentials: [u64; BINS],
    keys: HashMap<Box<str>, KeyTally>,
    keys_left_out: u64,
    reasons: Tops<()>,
    addresses: Tops<Reasons>,
    webhooks: HashMap<Box<str>, Deliveries>,
    decoys: Tops<()>,
    observed: Tops<()>,
    sampled: bool,
}

/// The few reasons that an address was refused for.
#[derive(Debug, Default)]
struct Reasons(Vec<Box<str>>);

/// What became of one webhook's deliveries.
#[derive(Debug)]
struct Deliveries {
    results: Tops<()>,
    senders: Tops<()>,
}

/// What is known beyond the log.
#[derive(Debug)]
pub struct Known<'k> {
    /// The key file.
    pub keys: &'k [Key],
    /// What is kept in the state folder.
    pub last_used: &'k LastUsed,
    /// The moment of the review.
    pub now: WallTime,
}

/// The review.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    /// The present period.
    pub span: Span,
    /// Whole periods before it that the log holds.
    pub past_periods: usize,
    /// The first request of all that were read.
    pub log_begins: Option<Stamp>,
    /// True if some lines stand for several requests: then counts are estimates.
    pub sampled: bool,
    /// Requests that were let through.
    pub allowed: Volume,
    /// Requests that were refused, or could not be answered.
    pub refused: Volume,
    /// Requests whose credential was refused.
    pub refused_credentials: Volume,
    /// The beginnings of the volumes' parts.
    pub parts: Vec<Stamp>,
    /// By key, what is unusual first.
    pub keys: Vec<KeyVolume>,
    /// Requests of keys beyond the number that is told apart.
    pub keys_left_out: u64,
    /// Refusals of the present period by reason.
    pub reasons: Vec<Counted>,
    /// Addresses with refused credentials in the present period.
    pub addresses: Vec<Address>,
    /// How many addresses there were; one that was forgotten and came again counts twice.
    pub addresses_seen: u64,
    /// Addresses that were forgotten because there were too many.
    pub addresses_forgotten: u64,
    /// Deliveries of the present period by webhook.
    pub webhooks: Vec<Webhook>,
    /// Keys in use that nobody used for [`UNUSED`].
    pub unused: Vec<Unused>,
    /// Keys that expire soon.
    pub expiring: Vec<Expiring>,
    /// Keys with scopes that they did not use in all that was read.
    pub overprivileged: Vec<Overprivileged>,
    /// Decoy keys that were tried in all that was read, as `key from address`.
    pub decoys: Vec<Counted>,
    /// What observed keys would have been refused for in the present period, as `key: reason`.
    pub observed: Vec<Counted>,
}

/// An address with refused credentials.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Address {
    /// The address, or the /64 of it, and how often.
    #[serde(flatten)]
    pub counted: Counted,
    /// Why.
    pub reasons: Vec<String>,
}

/// What became of one webhook's deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Webhook {
    /// Its name.
    pub name: String,
    /// `accepted`, `failed` (by the CRM), `duplicate`, `handshake`, `withheld`, `unanswered`, or a reason of a refusal.
    pub results: Vec<Counted>,
    /// `expected`, `unexpected`, `blocked`, and `out of hours`, where the rules about senders tell.
    pub senders: Vec<Counted>,
}

impl Review {
    /// Nothing counted yet. `webhooks` are the routes whose requests are deliveries.
    pub fn new<'w>(periods: Periods, webhooks: impl IntoIterator<Item = &'w str>) -> Self {
        let empty = || Deliveries { results: Tops::new(MOST_WORDS), senders: Tops::new(MOST_WORDS) };
        Self {
            periods,
            begins: None,
            allowed: [0; BINS],
            refused: [0; BINS],
            credentials: [0; BINS],
            keys: HashMap::new(),
            keys_left_out: 0,
            reasons: Tops::new(MOST_WORDS),
            addresses: Tops::new(MOST_ADDRESSES),
            webhooks: webhooks.into_iter().map(|name| (name.into(), empty())).collect(),
            decoys: Tops::new(MOST_WORDS),
            observed: Tops::new(MOST_WORDS),
            sampled: false,
        }
    }

    /// Counts one request.
    pub fn note(&mut self, record: &Record<'_>) {
        let Some(bin) = self.periods.bin(record.time) else { return };
        let weight = record.weight();
        self.sampled |= weight > 1;
        self.begins = Some(self.begins.map_or(record.time, |begins| begins.min(record.time)));
        let add = |parts: &mut [u64; BINS]| {
            if let Some(part) = parts.get_mut(bin) {
                *part = part.saturating_add(weight);
            }
        };
        add(if record.is_refused() { &mut self.refused } else { &mut self.allowed });
        let credential = record.reason.filter(|reason| is_credential(reason));
        if credential.is_some() {
            add(&mut self.credentials);
        }
        if let Some(id) = record.key {
            self.key(id, record, bin);
        }
        if record.reason == Some(DECOY) {
            let what = format!("{} from {}", record.key.unwrap_or("?"), network(record.client));
            self.decoys.note(&what, (weight, record.time), |()| ());
        }
        if record.time >= self.periods.present().since.0 {
            self.present(record, credential, (weight, record.time));
        }
    }

    /// What is counted of the present period alone.
    fn present(&mut self, record: &Record<'_>, credential: Option<&str>, count: (u64, WallTime)) {
        if let Some(reason) = record.reason {
            self.reasons.note(reason, count, |()| ());
        }
        if let Some(reason) = credential {
            self.addresses.note(&network(record.client), count, |Reasons(reasons)| {
                if reasons.len() < 8 && !reasons.iter().any(|known| **known == *reason) {
                    reasons.push(reason.into());
                }
            });
        }
        if let (Some(reason), Some(key)) = (record.observed, record.key) {
            self.observed.note(&format!("{key}: {reason}"), count, |()| ());
        }
        if let Some(webhook) = self.webhooks.get_mut(record.route) {
            webhook.results.note(result(record), count, |()| ());
            if let Some(sender) = record.sender {
                webhook.senders.note(sender, count, |()| ());
            }
            if record.hours == Some("out") {
                webhook.senders.note("out of hours", count, |()| ());
            }
        }
    }

    fn key(&mut self, id: &str, record: &Record<'_>, bin: usize) {
        if !self.keys.contains_key(id) {
            if self.keys.len() >= MOST_KEYS {
                self.keys_left_out = self.keys_left_out.saturating_add(record.weight());
                return;
            }
            self.keys.insert(id.into(), KeyTally::default());
        }
        if let Some(tally) = self.keys.get_mut(id) {
            tally.note(record, bin);
        }
    }

    /// The review.
    pub fn finish(self, known: &Known<'_>) -> Findings {
        let past = self.begins.map_or(0, |begins| self.periods.past(begins));
        let about = about(&self.keys, known, past);
        let address = |counted: Counted| {
            let entry = self.addresses.get(&counted.name);
            let reasons = entry.map(|it| it.value.0.iter().map(ToString::to_string).collect());
            Address { reasons: reasons.unwrap_or_default(), counted }
        };
        let mut webhooks: Vec<Webhook> = self
            .webhooks
            .iter()
            .map(|(name, it)| Webhook {
                name: name.to_string(),
                results: it.results.counted(MOST_WORDS),
                senders: it.senders.counted(MOST_WORDS),
            })
            .collect();
        webhooks.sort_by(|a, b| a.name.cmp(&b.name));
        Findings {
            span: self.periods.present(),
            past_periods: past,
            log_begins: self.begins.map(Stamp),
            sampled: self.sampled,
            allowed: Volume::of(&self.allowed, past),
            refused: Volume::of(&self.refused, past),
            refused_credentials: Volume::of(&self.credentials, past),
            parts: (0..BINS).map(|bin| Stamp(self.periods.part(bin))).collect(),
            keys: about.volumes,
            keys_left_out: self.keys_left_out,
            reasons: self.reasons.counted(MOST_WORDS),
            addresses: self.addresses.counted(SHOWN_ADDRESSES).into_iter().map(address).collect(),
            addresses_seen: u64::try_from(self.addresses.len()).unwrap_or(u64::MAX)
                + self.addresses.forgotten(),
            addresses_forgotten: self.addresses.forgotten(),
            webhooks,
            unused: about.unused,
            expiring: about.expiring,
            overprivileged: about.overprivileged,
            decoys: self.decoys.counted(MOST_WORDS),
            observed: self.observed.counted(MOST_WORDS),
        }
    }
}

/// What became of a delivery, in a word.
fn result<'a>(record: &Record<'a>) -> &'a str {
    match (record.reason, record.delivery, record.status) {
        (Some(reason), _, _) => reason,
        (None, Some(delivery), _) => delivery,
        (None, None, Some(200..=299)) => "accepted",
        (None, None, Some(_)) => "failed",
        (None, None, None) => "unanswered",
    }
}
