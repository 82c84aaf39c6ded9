//! How much, compared with its own past.

use std::time::Duration;

use serde::Serialize;

use super::{Span, Stamp};
use crate::clock::WallTime;

/// Periods before the present one that it is compared with.
pub const PAST: usize = 4;
/// Parts that a period has in plots: days, if it is a week.
pub const PARTS: usize = 7;
/// All parts.
pub const BINS: usize = PARTS * (PAST + 1);

/// Below this volume, in either period, nothing is unusual: small numbers vary.
const LEAST: f64 = 100.0;
/// Unusual is what is this many times as much or as little,
const RATIO: f64 = 3.0;
/// and this many standard deviations away.
const DEVIATIONS: f64 = 3.0;

/// The present period and those before it, all of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    until: WallTime,
    length: Duration,
}

/// What the volume of a period is against those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Within what it was, or too little to tell.
    Usual,
    /// Far more.
    More,
    /// Far less, or nothing.
    Less,
    /// Never used before.
    New,
    /// The log does not go back far enough.
    NoPast,
}

/// The volume of one period against those before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Volume {
    /// Requests in the present period.
    pub now: u64,
    /// Mean of the periods before that the log holds whole.
    pub usual: Option<f64>,
    /// `now` by `usual`, which counts as at least 1.
    pub ratio: Option<f64>,
    /// Standard deviations between the two. The deviation counts as at least the root of the mean, and a tenth of it.
    pub z: Option<f64>,
    /// In a word: of the period, and of each of its parts against the same part of those before.
    pub standing: Standing,
    /// The part of the present period, from 0, that is least like itself, where that is what stands out.
    pub part: Option<usize>,
    /// Requests in each part of all periods, oldest first.
    pub parts: Vec<u64>,
}

impl Periods {
    /// The present one is `length` long and ends at `until`.
    pub fn new(until: WallTime, length: Duration) -> Self {
        Self { until, length: length.max(Duration::from_secs(PARTS as u64)) }
    }

    /// The present period.
    pub fn present(&self) -> Span {
        Span { since: Stamp(self.until.before(self.length)), until: Stamp(self.until) }
    }

    /// The beginning of the first period.
    pub fn beginning(&self) -> WallTime {
        self.until.before(self.length.saturating_mul(PAST as u32 + 1))
    }

    /// The number of the part that a moment is in; `None` out of all periods.
    pub fn bin(&self, at: WallTime) -> Option<usize> {
        if at >= self.until || at < self.beginning() {
            return None;
        }
        let part = self.length.as_millis() / PARTS as u128;
        let since = at.since(self.beginning()).as_millis();
        usize::try_from(since / part.max(1)).ok().map(|bin| bin.min(BINS - 1))
    }

    /// The beginning of a part.
    pub fn part(&self, bin: usize) -> WallTime {
        let bin = u32::try_from(bin).unwrap_or(u32::MAX);
        self.beginning().after(self.length.saturating_mul(bin) / PARTS as u32)
    }

    /// How many whole periods before the present one a log that begins at `begins` holds.
    pub fn past(&self, begins: WallTime) -> usize {
        // A log that begins with its first request is whole, near enough.
        let begins = begins.before(self.length / 20);
        let holds = |number: &usize| {
            let length = u32::try_from(*number + 1).unwrap_or(u32::MAX);
            self.until.before(self.length.saturating_mul(length)) >= begins
        };
        (1..=PAST).take_while(holds).count()
    }
}

/// One number against those that are known of its past.
#[derive(Clone, Copy, Debug)]
struct Against {
    now: f64,
    mean: f64,
    z: f64,
}

impl Against {
    fn of(now: u64, before: &[u64]) -> Self {
        let count = before.len().max(1) as f64;
        let mean = before.iter().map(|it| *it as f64).sum::<f64>() / count;
        let spread = before.iter().map(|it| (*it as f64 - mean).powi(2)).sum::<f64>() / count;
        let deviation = spread.sqrt().max(mean.sqrt()).max(mean / 10.0).max(1.0);
        Self { now: now as f64, mean, z: (now as f64 - mean) / deviation }
    }

    fn ratio(self) -> f64 {
        self.now / self.mean.max(1.0)
    }

    fn standing(self) -> Standing {
        match () {
            () if self.now.max(self.mean) < LEAST || self.z.abs() < DEVIATIONS => Standing::Usual,
            () if self.ratio() >= RATIO => Standing::More,
            () if self.ratio() <= 1.0 / RATIO => Standing::Less,
            () => Standing::Usual,
        }
    }
}

impl Volume {
    /// Judges counts by part, oldest first, of which the last `past` periods before the present one are known.
    pub fn of(parts: &[u64; BINS], past: usize) -> Self {
        let periods: Vec<u64> = parts.chunks(PARTS).map(|period| period.iter().sum()).collect();
        let (now, ever) = (periods.last().copied().unwrap_or(0), periods.iter().take(PAST).sum::<u64>());
        let none = Self {
            now,
            usual: None,
            ratio: None,
            z: None,
            standing: Standing::NoPast,
            part: None,
            parts: parts.to_vec(),
        };
        if past == 0 {
            return none;
        }
        let whole = Against::of(now, periods.get(PAST.saturating_sub(past)..PAST).unwrap_or_default());
        // A bad Saturday hides in a week, not in the Saturdays.
        let peak = (0..PARTS)
            .filter(|part| against_part(parts, *part, past).standing() == Standing::More)
            .max_by(|a, b| {
                let ratio = |part: &usize| against_part(parts, *part, past).ratio();
                ratio(a).total_cmp(&ratio(b))
            });
        let (standing, part) = match (whole.standing(), peak) {
            _ if ever == 0 && now > 0 => (Standing::New, None),
            (Standing::Usual, Some(part)) => (Standing::More, Some(part)),
            (standing, _) => (standing, None),
        };
        let (usual, ratio, z) = (Some(whole.mean), Some(whole.ratio()), Some(whole.z));
        Self { usual, ratio, z, standing, part, ..none }
    }
}

fn against_part(parts: &[u64; BINS], part: usize, past: usize) -> Against {
    let of = |period: usize| parts.get(period * PARTS + part).copied().unwrap_or(0);
    let before: Vec<u64> = (PAST.saturating_sub(past)..PAST).map(of).collect();
    Against::of(of(PAST), &before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(periods: [u64; PAST + 1], past: usize) -> Standing {
        let mut parts = [0; BINS];
        for (chunk, total) in parts.chunks_mut(PARTS).zip(periods) {
            chunk[3] = total;
        }
        Volume::of(&parts, past).standing
    }

    #[test]
    fn volumes_are_judged_against_their_own_past() {
        for (periods, past, expected) in [
            ([1_000, 1_100, 900, 1_000, 1_050], 4, Standing::Usual),
            ([1_000, 1_100, 900, 1_000, 4_000], 4, Standing::More),
            ([1_000, 1_100, 900, 1_000, 100], 4, Standing::Less),
            ([1_000, 1_100, 900, 1_000, 0], 4, Standing::Less),
            ([1_000, 1_000, 1_000, 1_000, 2_000], 4, Standing::Usual),
            ([10, 0, 50_000, 10, 100_000], 4, Standing::More),
            ([100, 100, 100_000, 100, 70_000], 4, Standing::Usual),
            ([1, 2, 1, 1, 40], 4, Standing::Usual),
            ([0, 0, 0, 0, 5], 4, Standing::New),
            ([5, 0, 0, 0, 5_000], 2, Standing::More),
            ([0, 0, 0, 0, 5_000], 0, Standing::NoPast),
            ([0, 0, 0, 1_000, 5_000], 1, Standing::More),
        ] {
            assert_eq!(standing(periods, past), expected, "{periods:?}");
        }
    }

    #[test]
    fn one_bad_day_is_noticed_in_a_usual_week() {
        let mut parts = [100; BINS];
        assert_eq!(Volume::of(&parts, 4).standing, Standing::Usual);
        parts[BINS - 2] = 500;
        let volume = Volume::of(&parts, 4);
        assert_eq!((volume.standing, volume.part), (Standing::More, Some(PARTS - 2)));
        // The same every week is usual.
        (0..=PAST).for_each(|week| parts[week * PARTS + 5] = 500);
        assert_eq!(Volume::of(&parts, 4).standing, Standing::Usual);
        assert!(Volume::of(&parts, 4).ratio.unwrap() < 1.1);
    }

    #[test]
    fn moments_find_their_part() {
        let until = WallTime::from_unix_secs(1_795_341_600);
        let day = Duration::from_secs(86_400);
        let week = Periods::new(until, day * 7);
        assert_eq!(week.bin(until), None);
        assert_eq!(week.bin(until.before(Duration::from_millis(1))), Some(BINS - 1));
        assert_eq!(week.bin(until.before(day * 7)), Some(BINS - PARTS));
        assert_eq!(week.bin(week.beginning()), Some(0));
        assert_eq!(week.bin(until.before(day * 35 + Duration::from_millis(1))), None);
        assert_eq!(week.part(BINS - PARTS), until.before(day * 7));
        for (days, past) in [(1, 0), (13, 0), (14, 1), (27, 2), (28, 3), (35, 4), (99, 4)] {
            assert_eq!(week.past(until.before(day * days)), past, "{days}");
        }
    }
}
