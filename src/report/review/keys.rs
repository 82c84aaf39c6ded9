//! What the review says about keys.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde::Serialize;

use super::super::Stamp;
use super::super::volume::{BINS, Standing, Volume};
use super::{Known, UNUSED};
use crate::clock::WallTime;
use crate::keys::key::Key;
use crate::keys::phase::Phase;
use crate::records::line::Record;

/// Scopes of one key that are told apart.
const MOST_SCOPES: usize = 1_024;

/// What is counted of one key.
#[derive(Debug)]
pub(super) struct KeyTally {
    parts: [u64; BINS],
    refused: u64,
    last: WallTime,
    scopes: Vec<Box<str>>,
}

/// The volume of one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeyVolume {
    /// Its id.
    pub id: String,
    /// Its title; `None` if the key file no longer has it.
    pub title: Option<String>,
    /// Requests, also refused ones.
    pub volume: Volume,
    /// Refusals in all that was read.
    pub refused: u64,
    /// The last request.
    pub last_seen: Stamp,
}

/// A key that nobody uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unused {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The last use, if one is known.
    pub last_used: Option<Stamp>,
}

/// A key whose time is nearly over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Expiring {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Who answers for it.
    pub owner: Option<String>,
    /// The end.
    pub expires: Stamp,
}

/// A key that may do more than it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overprivileged {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Scopes that it used.
    pub used: Vec<String>,
    /// Scopes that it did not use.
    pub unused: Vec<String>,
}

/// All of it.
pub(super) struct About {
    pub(super) volumes: Vec<KeyVolume>,
    pub(super) unused: Vec<Unused>,
    pub(super) expiring: Vec<Expiring>,
    pub(super) overprivileged: Vec<Overprivileged>,
}

impl Default for KeyTally {
    fn default() -> Self {
        Self { parts: [0; BINS], refused: 0, last: WallTime::default(), scopes: Vec::new() }
    }
}

impl KeyTally {
    pub(super) fn note(&mut self, record: &Record<'_>, bin: usize) {
        let weight = record.weight();
        if let Some(part) = self.parts.get_mut(bin) {
            *part = part.saturating_add(weight);
        }
        if record.is_refused() {
            self.refused = self.refused.saturating_add(weight);
        }
        self.last = self.last.max(record.time);
        if let Some(scope) = record.scope
            && self.scopes.len() < MOST_SCOPES
            && !self.scopes.iter().any(|known| **known == *scope)
        {
            self.scopes.push(scope.into());
        }
    }

    fn used(&self, scope: &str) -> bool {
        self.scopes.iter().any(|known| **known == *scope)
    }
}

pub(super) fn about(tallies: &HashMap<Box<str>, KeyTally>, known: &Known<'_>, past: usize) -> About {
    let by_id: HashMap<&str, &Key> = known.keys.iter().map(|key| (key.id.as_str(), key)).collect();
    let mut volumes: Vec<KeyVolume> = tallies
        .iter()
        .map(|(id, tally)| KeyVolume {
            id: id.to_string(),
            title: by_id.get(&**id).map(|key| key.title.as_str().to_owned()),
            volume: Volume::of(&tally.parts, past),
            refused: tally.refused,
            last_seen: Stamp(tally.last),
        })
        .collect();
    // What stands out comes first, then what is large.
    volumes.sort_by(|a, b| {
        let order = |it: &KeyVolume| (urgency(it.volume.standing), Reverse(it.volume.now));
        order(a).cmp(&order(b)).then_with(|| a.id.cmp(&b.id))
    });
    let now = known.now;
    let live: Vec<&Key> = known.keys.iter().filter(|key| !key.phase(now).is_over()).collect();
    let tally = |key: &Key| tallies.get(key.id.as_str());
    let expiring = live.iter().filter(|key| key.phase(now) == Phase::Expiring);
    About {
        unused: live.iter().filter_map(|key| unused(key, tally(key), known)).collect(),
        expiring: expiring.filter_map(|key| expires(key)).collect(),
        overprivileged: live.iter().filter_map(|key| overprivileged(key, tally(key)?)).collect(),
        volumes,
    }
}

const fn urgency(standing: Standing) -> u8 {
    match standing {
        Standing::More => 0,
        Standing::New => 1,
        Standing::Less => 2,
        Standing::Usual | Standing::NoPast => 3,
    }
}

fn owner(key: &Key) -> Option<String> {
    key.about.as_ref()?.owner.as_deref().map(str::to_owned)
}

fn unused(key: &Key, tally: Option<&KeyTally>, known: &Known<'_>) -> Option<Unused> {
    let is_old = |moment: WallTime| known.now.since(moment) >= UNUSED;
    let last = known.last_used.of(&key.id).any.max(tally.map(|tally| tally.last));
    // A key that was made lately has had no time to be used.
    (last.is_none_or(is_old) && key.created.is_none_or(is_old)).then(|| Unused {
        id: key.id.as_str().to_owned(),
        title: key.title.as_str().to_owned(),
        owner: owner(key),
        last_used: last.map(Stamp),
    })
}

fn expires(key: &Key) -> Option<Expiring> {
    Some(Expiring {
        id: key.id.as_str().to_owned(),
        title: key.title.as_str().to_owned(),
        owner: owner(key),
        expires: Stamp(key.expires?),
    })
}

fn overprivileged(key: &Key, tally: &KeyTally) -> Option<Overprivileged> {
    let (used, unused): (Vec<&str>, Vec<&str>) =
        key.scope_names.split_ascii_whitespace().partition(|scope| tally.used(scope));
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    // A key that used none was refused, or came by a path without scopes: that says nothing about what it needs.
    (!unused.is_empty() && !used.is_empty()).then(|| Overprivileged {
        id: key.id.as_str().to_owned(),
        title: key.title.as_str().to_owned(),
        used: owned(used),
        unused: owned(unused),
    })
}
