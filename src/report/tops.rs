//! What was counted most, in bounded memory (Misra and Gries, 1982, in batches).
//!
//! Where twice as many names are kept as wanted, the lesser half goes. A name that comes again begins anew, and
//! [`Entry::missed`] says how much of it may have gone so. Whatever was counted more than all that was ever cut is there.

use std::collections::HashMap;

use super::{Counted, Stamp};
use crate::clock::WallTime;

/// Counts by name, the most frequent ones for certain.
#[derive(Clone, Debug)]
pub struct Tops<V> {
    most: usize,
    entries: HashMap<Box<str>, Entry<V>>,
    /// The largest counts of all cuts together.
    cut: u64,
    forgotten: u64,
}

/// One name's count and what else is kept of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry<V> {
    /// At least so often.
    pub count: u64,
    /// And at most so much more often.
    pub missed: u64,
    /// When for the first time, as far as it was kept.
    pub first: WallTime,
    /// When for the last time.
    pub last: WallTime,
    /// What else.
    pub value: V,
}

impl<V: Default> Tops<V> {
    /// Keeps at least the `most` most frequent names, at most twice as many.
    pub fn new(most: usize) -> Self {
        Self { most: most.max(1), entries: HashMap::new(), cut: 0, forgotten: 0 }
    }

    /// Counts `name`, and lets `change` note what else is known.
    pub fn note(&mut self, name: &str, (count, at): (u64, WallTime), change: impl FnOnce(&mut V)) {
        if !self.entries.contains_key(name) {
            if self.entries.len() >= self.most.saturating_mul(2) {
                self.cut();
            }
            let entry = Entry { count: 0, missed: self.cut, first: at, last: at, value: V::default() };
            self.entries.insert(name.into(), entry);
        }
        if let Some(entry) = self.entries.get_mut(name) {
            entry.count = entry.count.saturating_add(count);
            entry.first = entry.first.min(at);
            entry.last = entry.last.max(at);
            change(&mut entry.value);
        }
    }

    /// Keeps the `most` most frequent names.
    fn cut(&mut self) {
        let mut counts: Vec<u64> = self.entries.values().map(|entry| entry.count).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let limit = counts.get(self.most).copied().unwrap_or(0);
        let mut ties = self.most.saturating_sub(counts.partition_point(|count| *count > limit));
        let before = self.entries.len();
        self.entries.retain(|_, entry| {
            let is_tie = entry.count == limit && ties > 0;
            ties = ties.saturating_sub(usize::from(is_tie));
            entry.count > limit || is_tie
        });
        self.cut = self.cut.saturating_add(limit);
        let gone = before.saturating_sub(self.entries.len());
        self.forgotten = self.forgotten.saturating_add(u64::try_from(gone).unwrap_or(u64::MAX));
    }

    /// How many names were forgotten; one that came again counts twice.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Names that are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is kept of a name.
    pub fn get(&self, name: &str) -> Option<&Entry<V>> {
        self.entries.get(name)
    }

    /// The most frequent names first; equal ones by name.
    pub fn sorted(&self) -> Vec<(&str, &Entry<V>)> {
        let mut all: Vec<(&str, &Entry<V>)> =
            self.entries.iter().map(|(name, entry)| (&**name, entry)).collect();
        all.sort_unstable_by(|(a, x), (b, y)| y.count.cmp(&x.count).then_with(|| a.cmp(b)));
        all
    }

    /// The same as plain counts, at most `most`.
    pub fn counted(&self, most: usize) -> Vec<Counted> {
        let counted = |(name, entry): (&str, &Entry<V>)| Counted {
            name: name.to_owned(),
            count: entry.count,
            more_at_most: entry.missed,
            first: Stamp(entry.first),
            last: Stamp(entry.last),
        };
        self.sorted().into_iter().take(most).map(counted).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_flood_of_names_hides_no_frequent_one() {
        let mut tops: Tops<()> = Tops::new(100);
        for number in 0..1_000_000_u64 {
            let at = WallTime::from_unix_secs(number.cast_signed());
            tops.note(&format!("stranger {number}"), (1, at), |()| ());
            if number % 50 == 0 {
                tops.note("frequent", (1, at), |()| ());
            }
        }
        assert!(tops.len() <= 200 && tops.forgotten() > 900_000);
        let (name, entry) = tops.sorted()[0];
        assert_eq!((name, entry.count, entry.missed), ("frequent", 20_000, 0));
        assert_eq!((entry.first.unix_secs(), entry.last.unix_secs()), (0, 999_950));
    }

    proptest! {
        #[test]
        fn counts_lie_within_what_is_said(names in prop::collection::vec(0_u8..40, 0..2_000), most in 1_usize..12) {
            let mut tops: Tops<u64> = Tops::new(most);
            let mut truth: HashMap<u8, u64> = HashMap::new();
            for name in &names {
                tops.note(&name.to_string(), (1, WallTime::default()), |value| *value += 1);
                *truth.entry(*name).or_default() += 1;
            }
            prop_assert!(tops.len() <= 2 * most);
            for (name, count) in truth {
                match tops.get(&name.to_string()) {
                    Some(entry) => {
                        prop_assert!((entry.count..=entry.count + entry.missed).contains(&count));
                        prop_assert_eq!(entry.value, entry.count);
                    }
                    None => prop_assert!(count <= tops.cut),
                }
            }
        }
    }
}
