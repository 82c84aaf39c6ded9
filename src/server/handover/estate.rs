//! What a process knows that the next one must know too: bans, which deliveries were seen, how keys are used.
//!
//! It is told twice: before the new process runs, and what the old one learns while it ends.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::words::Word;
use crate::clock::WallTime;
use crate::credential::webhook::ReplayKey;
use crate::keys::last_used::LastUsed;
use crate::keys::origins_file::KnownOrigins;
use crate::keys::state::KeyStates;
use crate::limits::bans::Cause;
use crate::limits::deliveries::{Claim, Deliveries};
use crate::limits::failures::Failures;
use crate::reload::{Memories, MemoryName};

/// Most bytes of a word about keys.
const MOST_OF_KEYS: usize = 4 << 20;

/// One ban.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct CarriedBan {
    address: String,
    since_millis: i64,
    until_millis: i64,
    by_command: bool,
}

/// What one webhook's memory learned.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::server) struct CarriedDeliveries {
    webhook: Box<str>,
    bot: Option<Box<str>>,
    /// 32 bytes for each, the oldest first; base64.
    done: String,
    /// Not answered yet; likewise.
    under_way: String,
}

/// Where what is carried comes from, and where it goes.
#[derive(Clone, Debug)]
pub(in crate::server) struct Estate {
    pub(in crate::server) failures: Arc<Failures>,
    pub(in crate::server) memories: Arc<Memories>,
    pub(in crate::server) states: Arc<KeyStates>,
}

/// What was told of each memory.
#[derive(Debug, Default)]
pub(in crate::server) struct ToldSoFar(HashMap<MemoryName, ToldOfOne>);

#[derive(Debug, Default)]
struct ToldOfOne {
    /// How many were done.
    done: u64,
    /// How many were under way when it was last told.
    under_way: usize,
}

/// Deliveries that the predecessor has under way: an equal one must wait.
#[derive(Debug, Default)]
pub(in crate::server) struct Held(HashMap<(MemoryName, ReplayKey), Claim>);

impl Estate {
    /// Everybody who is banned.
    pub(in crate::server) fn bans(&self) -> Word {
        let carried = |(group, ban): (crate::client_addr::AddrGroup, crate::limits::bans::Ban)| CarriedBan {
            address: group.to_string(),
            since_millis: ban.since.unix_millis(),
            until_millis: ban.ends.unix_millis(),
            by_command: ban.cause == Cause::Command,
        };
        Word::Bans(self.failures.bans.all().into_iter().map(carried).collect())
    }

    /// Deliveries that were seen since they were last told.
    pub(in crate::server) fn deliveries(&self, told: &mut ToldSoFar) -> Vec<Word> {
        let mut words = Vec::new();
        for entry in self.memories.iter() {
            let (name, memory) = (entry.key(), entry.value());
            let so_far = told.0.entry(name.clone()).or_default();
            let (done, count) = memory.done_since(so_far.done);
            let under_way = memory.under_way();
            // The last one that fails is told by saying that none is left.
            let were_under_way = std::mem::replace(&mut so_far.under_way, under_way.len()) > 0;
            so_far.done = count;
            if !done.is_empty() || !under_way.is_empty() || were_under_way {
                let (webhook, bot) = name.clone();
                words.push(Word::Deliveries(CarriedDeliveries {
                    webhook,
                    bot,
                    done: packed(&done),
                    under_way: packed(&under_way),
                }));
            }
        }
        words
    }

    /// How keys are used.
    pub(in crate::server) fn keys(&self) -> Vec<Word> {
        let last_used = pieces(&self.states.last_used().text()).into_iter().map(Word::LastUsed);
        let origins = pieces(&self.states.origins().text()).into_iter().map(Word::Networks);
        last_used.chain(origins).collect()
    }

    /// Takes what the predecessor told before it said to run.
    pub(in crate::server) fn learn_all(&self, told: Vec<Word>) -> Held {
        let mut held = Held::default();
        told.into_iter().for_each(|word| self.learn(word, &mut held));
        held
    }

    /// Takes what the predecessor told.
    pub(in crate::server) fn learn(&self, word: Word, held: &mut Held) {
        match word {
            Word::Bans(bans) => bans.into_iter().for_each(|ban| self.ban(&ban)),
            Word::Deliveries(carried) => self.remember(carried, held),
            Word::LastUsed(text) => self.states.learn_uses(&LastUsed::of_text(&text)),
            Word::Networks(text) => self.states.learn_origins(&KnownOrigins::of_text(&text)),
            Word::Sockets(_) | Word::Prepared | Word::Go | Word::Running | Word::Failed(_) => {}
        }
    }

    fn ban(&self, ban: &CarriedBan) {
        let Ok(group) = ban.address.parse() else { return };
        let cause = if ban.by_command { Cause::Command } else { Cause::Guessing };
        let moment = WallTime::from_unix_millis;
        self.failures.bans.carry_over(group, (moment(ban.since_millis), moment(ban.until_millis)), cause);
    }

    fn remember(&self, carried: CarriedDeliveries, held: &mut Held) {
        let CarriedDeliveries { webhook, bot, done, under_way } = carried;
        let name = (webhook, bot);
        // A webhook that the configuration no longer has needs no memory.
        let Some(memory) = self.memories.get(&name).map(|it| Arc::clone(&it)) else { return };
        for key in unpacked(&done) {
            match held.0.remove(&(name.clone(), key)) {
                Some(claim) => claim.done(),
                None => Deliveries::remember(&memory, key),
            }
        }
        let under_way: Vec<ReplayKey> = unpacked(&under_way).collect();
        // Whatever is neither done nor under way has failed, and may come again.
        held.0.retain(|(of, key), _| *of != name || under_way.contains(key));
        for key in under_way {
            if let Ok(claim) = memory.claim(key) {
                held.0.insert((name.clone(), key), claim);
            }
        }
    }
}

fn packed(keys: &[ReplayKey]) -> String {
    BASE64_STANDARD.encode(keys.iter().flat_map(|key| *key.as_bytes()).collect::<Vec<u8>>())
}

fn unpacked(text: &str) -> impl Iterator<Item = ReplayKey> {
    let bytes = BASE64_STANDARD.decode(text).unwrap_or_default();
    let (keys, _) = bytes.as_chunks::<32>();
    keys.iter().map(|key| ReplayKey::from_bytes(*key)).collect::<Vec<_>>().into_iter()
}

/// Whole lines, about so many bytes at once.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    for line in text.split_inclusive('\n') {
        match pieces.last_mut() {
            Some(piece) if String::len(piece) < MOST_OF_KEYS => piece.push_str(line),
            Some(_) | None => pieces.push(line.to_owned()),
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use dashmap::DashMap;

    use super::*;
    use crate::clock::{Clock, ManualClock};
    use crate::keys::key::KeyId;
    use crate::limits::deliveries::Known;

    fn estate(clock: &Clock) -> (Estate, Arc<Deliveries>) {
        let memory = Arc::<Deliveries>::default();
        let memories = DashMap::new();
        memories.insert(("hook".into(), None), Arc::clone(&memory));
        let (failures, states) = (Failures::new(10, clock), KeyStates::new(clock));
        let (failures, states, memories) = (Arc::new(failures), Arc::new(states), Arc::new(memories));
        (Estate { failures, memories, states }, memory)
    }

    /// As it comes out of the talk.
    fn sent(word: Word) -> Word {
        super::super::words::word(&super::super::words::line(&word).unwrap()).unwrap()
    }

    #[test]
    fn what_was_delivered_or_is_under_way_is_known_to_the_next() {
        let time = ManualClock::at(WallTime::from_unix_secs(1_700_000_000));
        let ((old, was), (new, now)) = (estate(&time.clock()), estate(&time.clock()));
        let [done, waits, fails] = [1, 2, 3].map(ReplayKey::of_update);
        was.claim(done).unwrap().done();
        let (waiting, failing) = (was.claim(waits).unwrap(), was.claim(fails).unwrap());
        let (mut told, mut held) = (ToldSoFar::default(), Held::default());
        let mut tell = |held: &mut Held| {
            let words = old.deliveries(&mut told);
            let count = words.len();
            words.into_iter().for_each(|word| new.learn(sent(word), held));
            count
        };
        assert_eq!(tell(&mut held), 1);
        assert_eq!(now.claim(done).unwrap_err(), Known::Done);
        assert_eq!(now.claim(waits).unwrap_err(), Known::UnderWay);
        waiting.done();
        drop(failing);
        let another = was.claim(ReplayKey::of_update(4)).unwrap();
        tell(&mut held);
        assert_eq!(now.claim(waits).unwrap_err(), Known::Done);
        assert!(now.claim(fails).is_ok(), "one that failed may come again");
        assert_eq!(now.claim(ReplayKey::of_update(4)).unwrap_err(), Known::UnderWay);
        drop(held);
        assert!(now.claim(ReplayKey::of_update(4)).is_ok(), "the old process is gone, nobody knows");
        drop(another);
        assert_eq!(tell(&mut Held::default()), 1, "it failed");
        assert_eq!(tell(&mut Held::default()), 0, "nothing is told twice");
    }

    #[test]
    fn the_last_one_under_way_that_fails_is_told_too() {
        let time = ManualClock::at(WallTime::from_unix_secs(1_700_000_000));
        let ((old, was), (new, now)) = (estate(&time.clock()), estate(&time.clock()));
        let (mut told, mut held, key) = (ToldSoFar::default(), Held::default(), ReplayKey::of_update(1));
        let mut tell = || {
            let words = old.deliveries(&mut told);
            let count = words.len();
            words.into_iter().for_each(|word| new.learn(sent(word), &mut held));
            count
        };
        let failing = was.claim(key).unwrap();
        assert_eq!((tell(), now.claim(key).unwrap_err()), (1, Known::UnderWay));
        drop(failing);
        assert_eq!(tell(), 1);
        assert!(now.claim(key).is_ok(), "it failed, and may come again");
        assert_eq!(tell(), 0, "nothing is told twice");
    }

    #[test]
    fn bans_and_uses_of_keys_go_over() {
        let time = ManualClock::at(WallTime::from_unix_secs(1_700_000_000));
        let ((old, _), (new, _)) = (estate(&time.clock()), estate(&time.clock()));
        let bad = "192.0.2.1".parse().unwrap();
        old.failures.bans.add(bad, std::time::Duration::from_secs(60), Cause::Guessing);
        let id = KeyId::new("abcdefgh").unwrap();
        let rate = "5/s".parse().unwrap();
        let (was, now) = (old.states.of(&id, rate), new.states.of(&id, rate));
        let at = |secs: i64| WallTime::from_unix_secs(1_700_000_000 + secs);
        was.used(at(5));
        now.used(at(3));
        was.origins.note([192, 0, 2, 9].into(), at(5));
        now.origins.note([198, 51, 100, 9].into(), at(3));
        for word in old.keys().into_iter().chain([old.bans()]) {
            new.learn(sent(word), &mut Held::default());
        }
        assert_eq!(
            new.failures.bans.of(bad).map(|ban| (ban.ends, ban.cause)),
            Some((at(60), Cause::Guessing))
        );
        assert_eq!(now.last_used(), Some(at(5)));
        assert_eq!(now.origins.networks(), (2, 0), "what the old process knew is not new");
        now.used(at(9));
        old.keys().into_iter().for_each(|word| new.learn(sent(word), &mut Held::default()));
        assert_eq!(now.last_used(), Some(at(9)), "what is newer stays");
    }

    #[test]
    fn long_texts_come_in_pieces_of_whole_lines() {
        let text = "x".repeat(MOST_OF_KEYS - 1) + "\na\nb\n";
        let cut = pieces(&text);
        assert_eq!((cut.len(), cut.concat()), (2, text));
        assert!(cut.iter().all(|piece| piece.ends_with('\n')));
    }
}
