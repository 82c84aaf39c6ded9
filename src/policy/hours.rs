//! Business hours: days of the week, from one time of day to another, by the clock on somebody's wall.
//!
//! Opening and closing are turned into moments before they are compared, so that a clock change neither opens twice nor
//! never: a time that the clock skips is the moment of the change; of a time that it shows twice, opening is the first and
//! closing the second.

use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::clock::WallTime;

/// When somebody is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    days: Days,
    from: TimeOfDay,
    to: TimeOfDay,
    zone: Zone,
}

/// Days of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days {
    /// Bit 0 is Monday.
    bits: u8,
}

/// Minutes since midnight, from 0 to 24 × 60.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(i16);

/// A time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// Whether it is business hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Somebody is there, or no hours are written down.
    In,
    /// Nobody is there.
    Out,
}

impl Opening {
    /// The word for the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// Not hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoursError {
    /// Not days of the week.
    #[error("expected days such as 'mon-fri' or 'mon,wed,sat-sun'")]
    Days,
    /// Not a time of day.
    #[error("expected a time of day such as '09:00', up to '24:00'")]
    TimeOfDay,
    /// Not in the IANA database.
    #[error("no time zone is called '{0}'; names are as in 'Europe/Berlin' or 'UTC'")]
    Zone(String),
    /// Hours of no length.
    #[error("'from' and 'to' are the same time; write '00:00' and '24:00' for a whole day")]
    Empty,
}

impl Hours {
    /// From `from` on each of `days` to `to`, which is on the next day unless it is later in the day.
    ///
    /// # Errors
    /// [`HoursError::Empty`].
    pub fn new(days: Days, from: TimeOfDay, to: TimeOfDay, zone: Zone) -> Result<Self, HoursError> {
        if from == to { Err(HoursError::Empty) } else { Ok(Self { days, from, to, zone }) }
    }

    /// Whether `now` is within.
    pub fn at(&self, now: WallTime) -> Opening {
        let within = Timestamp::from_millisecond(now.unix_millis()).is_ok_and(|now| {
            let today = self.zone.0.to_datetime(now).date();
            // Yesterday's hours may end after midnight, and so may a clock change that turns the date back.
            [today.yesterday(), Ok(today), today.tomorrow()].into_iter().flatten().any(|day| {
                self.days.contains(day.weekday())
                    && self.on(day).is_some_and(|(from, to)| from <= now && now < to)
            })
        });
        if within { Opening::In } else { Opening::Out }
    }

    /// The moments of opening and closing for the hours that begin on `day`.
    fn on(&self, day: Date) -> Option<(Timestamp, Timestamp)> {
        let last = if self.to <= self.from { day.tomorrow().ok()? } else { day };
        let from = self.zone.moment(self.from.on(day)?, Twice::First)?;
        let to = self.zone.moment(self.to.on(last)?, Twice::Second)?;
        Some((from, to))
    }
}

/// Which of the two moments of a time that the clock shows twice.
#[derive(Clone, Copy)]
enum Twice {
    First,
    Second,
}

impl Zone {
    fn moment(&self, at: DateTime, twice: Twice) -> Option<Timestamp> {
        let ambiguous = self.0.to_ambiguous_timestamp(at);
        match (ambiguous.offset(), twice) {
            (AmbiguousOffset::Unambiguous { .. }, _) | (AmbiguousOffset::Fold { .. }, Twice::First) => {
                ambiguous.earlier().ok()
            }
            (AmbiguousOffset::Fold { .. }, Twice::Second) => ambiguous.later().ok(),
            (AmbiguousOffset::Gap { .. }, _) => {
                // Read with the offset from before the change, it is at the change or after it.
                let after = ambiguous.later().ok()?;
                let just_after = Timestamp::from_second(after.as_second().checked_add(1)?).ok()?;
                self.0.preceding(just_after).next().map(|change| change.timestamp())
            }
        }
    }
}

impl Days {
    fn contains(self, day: Weekday) -> bool {
        self.bits & 1 << day.to_monday_zero_offset() != 0
    }
}

impl TimeOfDay {
    fn on(self, day: Date) -> Option<DateTime> {
        if self.0 == 24 * 60 {
            return Some(day.tomorrow().ok()?.at(0, 0, 0, 0));
        }
        let (hour, minute) = (i8::try_from(self.0 / 60).ok()?, i8::try_from(self.0 % 60).ok()?);
        Some(day.at(hour, minute, 0, 0))
    }
}

impl FromStr for Days {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let mut bits = 0;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            let mut at = first;
            loop {
                bits |= 1 << at;
                if at == last {
                    break;
                }
                // 'sat-mon' goes on after Sunday.
                at = (at + 1) % 7;
            }
        }
        Ok(Self { bits })
    }
}

/// 0 is Monday.
fn day(text: &str) -> Result<u8, HoursError> {
    const NAMES: [(&str, u8); 7] =
        [("mon", 0), ("tue", 1), ("wed", 2), ("thu", 3), ("fri", 4), ("sat", 5), ("sun", 6)];
    let text = text.trim();
    let named = NAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    named.map(|(_, number)| *number).ok_or(HoursError::Days)
}

impl FromStr for TimeOfDay {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let two = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<i16>().ok()).flatten()
        };
        let (hour, minute) = text
            .split_once(':')
            .and_then(|(hour, minute)| two(hour).zip(two(minute)))
            .ok_or(HoursError::TimeOfDay)?;
        let of_day = hour * 60 + minute;
        if minute < 60 && of_day <= 24 * 60 { Ok(Self(of_day)) } else { Err(HoursError::TimeOfDay) }
    }
}

impl FromStr for Zone {
    type Err = HoursError;

    fn from_str(name: &str) -> Result<Self, HoursError> {
        // The machine's own database where there is one, because it is updated; otherwise the one that is built in.
        TimeZone::get(name).map(Self).map_err(|_| HoursError::Zone(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(days: &str, from: &str, to: &str, zone: &str) -> Hours {
        Hours::new(days.parse().unwrap(), from.parse().unwrap(), to.parse().unwrap(), zone.parse().unwrap())
            .unwrap()
    }

    /// Looks at moments written with their offset, so that a test says which of two equal clock times it means.
    fn check(hours: &Hours, moments: &[(&str, Opening)]) {
        for (moment, expected) in moments {
            let at: Timestamp = moment.parse().unwrap();
            assert_eq!(hours.at(WallTime::from_unix_secs(at.as_second())), *expected, "{moment}");
        }
    }

    use Opening::{In, Out};

    #[test]
    fn a_week_in_berlin_summer_and_winter() {
        let office = hours("mon-fri", "09:00", "18:00", "Europe/Berlin");
        check(
            &office,
            &[
                ("2026-11-20T08:59:59+01:00", Out),
                ("2026-11-20T09:00:00+01:00", In),
                ("2026-11-20T17:59:59+01:00", In),
                ("2026-11-20T18:00:00+01:00", Out),
                ("2026-11-21T12:00:00+01:00", Out), // Saturday
                ("2026-11-22T12:00:00+01:00", Out), // Sunday
                ("2026-07-20T07:00:00Z", In),       // 9:00 in summer
                ("2026-11-23T07:00:00Z", Out),      // 8:00 in winter
                ("2026-11-23T08:00:00Z", In),
            ],
        );
    }

    #[test]
    fn past_midnight_the_day_is_that_of_the_beginning() {
        let night = hours("fri", "22:00", "06:00", "America/New_York");
        check(
            &night,
            &[
                ("2026-11-20T21:59:59-05:00", Out),
                ("2026-11-20T22:00:00-05:00", In),
                ("2026-11-21T05:59:59-05:00", In), // Saturday, but of Friday's night
                ("2026-11-21T06:00:00-05:00", Out),
                ("2026-11-20T05:00:00-05:00", Out), // Friday, but of Thursday's night
                ("2026-11-21T23:00:00-05:00", Out),
            ],
        );
        let whole = hours("sat,sun", "00:00", "24:00", "UTC");
        check(
            &whole,
            &[
                ("2026-11-20T23:59:59Z", Out),
                ("2026-11-21T00:00:00Z", In),
                ("2026-11-22T23:59:59Z", In),
                ("2026-11-23T00:00:00Z", Out),
            ],
        );
    }

    /// Berlin, 29 March 2026: 02:00 +01:00 becomes 03:00 +02:00.
    #[test]
    fn a_time_that_the_clock_skips_is_the_moment_of_the_change() {
        let from = hours("sun", "02:30", "12:00", "Europe/Berlin");
        check(&from, &[("2026-03-29T01:59:59+01:00", Out), ("2026-03-29T03:00:00+02:00", In)]);
        let at_its_edge = hours("sun", "02:00", "12:00", "Europe/Berlin");
        check(&at_its_edge, &[("2026-03-29T01:59:59+01:00", Out), ("2026-03-29T03:00:00+02:00", In)]);
        let to = hours("sun", "00:00", "02:30", "Europe/Berlin");
        check(&to, &[("2026-03-29T01:59:59+01:00", In), ("2026-03-29T03:00:00+02:00", Out)]);
        let within = hours("sun", "02:10", "02:50", "Europe/Berlin");
        check(&within, &[("2026-03-29T01:59:59+01:00", Out), ("2026-03-29T03:00:00+02:00", Out)]);
        let night = hours("sat", "22:00", "06:00", "Europe/Berlin");
        check(&night, &[("2026-03-29T05:59:59+02:00", In), ("2026-03-29T06:00:00+02:00", Out)]);
    }

    /// Berlin, 25 October 2026: 03:00 +02:00 becomes 02:00 +01:00.
    #[test]
    fn a_time_that_the_clock_shows_twice_opens_first_and_closes_last() {
        let from = hours("sun", "02:30", "12:00", "Europe/Berlin");
        check(
            &from,
            &[
                ("2026-10-25T02:29:59+02:00", Out),
                ("2026-10-25T02:30:00+02:00", In),
                ("2026-10-25T02:00:00+01:00", In), // the clock shows 2:00 again, and they stay open
                ("2026-10-25T02:30:00+01:00", In),
            ],
        );
        let to = hours("sun", "00:00", "02:30", "Europe/Berlin");
        check(
            &to,
            &[
                ("2026-10-25T02:29:59+02:00", In),
                ("2026-10-25T02:45:00+02:00", In), // they do not close to open again
                ("2026-10-25T02:29:59+01:00", In),
                ("2026-10-25T02:30:00+01:00", Out),
            ],
        );
    }

    /// Lord Howe Island changes by half an hour; Apia had no 30 December 2011, a Friday; Havana changes at midnight.
    #[test]
    fn odd_zones() {
        let howe = hours("sun", "02:15", "03:00", "Australia/Lord_Howe");
        check(&howe, &[("2026-10-04T01:59:59+10:30", Out), ("2026-10-04T02:30:00+11:00", In)]);
        let apia = hours("fri", "09:00", "17:00", "Pacific/Apia");
        check(
            &apia,
            &[
                ("2011-12-29T12:00:00-10:00", Out),
                ("2011-12-31T00:00:00+14:00", Out),
                ("2011-12-31T12:00:00+14:00", Out),
                ("2012-01-06T12:00:00+14:00", In),
            ],
        );
        let havana = hours("sun", "00:00", "08:00", "America/Havana");
        check(&havana, &[("2026-03-07T23:59:59-05:00", Out), ("2026-03-08T01:00:00-04:00", In)]);
    }

    #[test]
    fn as_people_write_them() {
        assert_eq!("mon-fri".parse(), Ok(Days { bits: 0b001_1111 }));
        assert_eq!("Sat-Mon, wed".parse(), Ok(Days { bits: 0b110_0101 }));
        for bad in ["", "mon-", "-", "monday", "mon fri", "mon;tue", "1-5"] {
            assert_eq!(bad.parse::<Days>(), Err(HoursError::Days), "{bad}");
        }
        assert_eq!("24:00".parse(), Ok(TimeOfDay(1440)));
        for bad in ["", "9:00", "09:60", "24:01", "25:00", "09.00", "0900", "+9:00", "09:00:00"] {
            assert_eq!(bad.parse::<TimeOfDay>(), Err(HoursError::TimeOfDay), "{bad}");
        }
        for bad in ["", "Berlin", "Europe/Belrin", "../etc/passwd", "+02:00"] {
            assert!(matches!(bad.parse::<Zone>(), Err(HoursError::Zone(_))), "{bad}");
        }
        let nine: TimeOfDay = "09:00".parse().unwrap();
        let empty = Hours::new("mon".parse().unwrap(), nine, nine, "UTC".parse().unwrap());
        assert_eq!(empty, Err(HoursError::Empty));
    }
}
