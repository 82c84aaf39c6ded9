//! Rates as people write them: `600/min`, `5/s burst 20`, `1000/h`, `10000/day`.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many in so long, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: NonZeroU32,
    per: Per,
    burst: NonZeroU32,
}

/// The unit of time of a [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3,600 s.
    Hour,
    /// 86,400 s.
    Day,
}

/// Not a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a rate such as '600/min', '5/s burst 20', '1000/h' or '10000/day', from 1 to 1000000000")]
pub struct RateError;

impl Rate {
    /// `count` in one `per`, all of which may come at once.
    pub const fn new(count: NonZeroU32, per: Per) -> Self {
        Self { count, per, burst: count }
    }

    /// The same rate with another burst.
    #[must_use]
    pub const fn with_burst(self, burst: NonZeroU32) -> Self {
        Self { count: self.count, per: self.per, burst }
    }

    /// Requests per unit.
    pub const fn count(self) -> NonZeroU32 {
        self.count
    }

    /// Requests that may come at once.
    pub const fn burst(self) -> NonZeroU32 {
        self.burst
    }

    /// The unit's length.
    pub const fn window(self) -> Duration {
        Duration::from_secs(match self.per {
            Per::Second => 1,
            Per::Minute => 60,
            Per::Hour => 3_600,
            Per::Day => 86_400,
        })
    }

    /// Time for one request to be earned back; never zero.
    pub fn interval(self) -> Duration {
        (self.window() / self.count.get()).max(Duration::from_nanos(1))
    }
}

impl std::str::FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let mut words = text.split_ascii_whitespace();
        let (count, per) = words.next().and_then(|word| word.split_once('/')).ok_or(RateError)?;
        let per = match per {
            "s" | "sec" | "second" => Per::Second,
            "min" | "m" | "minute" => Per::Minute,
            "h" | "hour" => Per::Hour,
            "d" | "day" => Per::Day,
            _ => return Err(RateError),
        };
        let rate = Self::new(number(count)?, per);
        match (words.next(), words.next(), words.next()) {
            (None, _, _) => Ok(rate),
            (Some("burst"), Some(burst), None) => Ok(rate.with_burst(number(burst)?)),
            _ => Err(RateError),
        }
    }
}

fn number(text: &str) -> Result<NonZeroU32, RateError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse::<NonZeroU32>().map_err(|_| RateError)?;
    if digits && value.get() <= 1_000_000_000 { Ok(value) } else { Err(RateError) }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let per = match self.per {
            Per::Second => "s",
            Per::Minute => "min",
            Per::Hour => "h",
            Per::Day => "day",
        };
        write!(f, "{}/{per}", self.count)?;
        if self.burst == self.count { Ok(()) } else { write!(f, " burst {}", self.burst) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_read_back() {
        for text in ["600/min", "5/s burst 20", "1000/h", "10000/day", "1/s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        assert_eq!("600/min".parse::<Rate>().unwrap().interval(), Duration::from_millis(100));
        for bad in [
            "",
            "600",
            "0/s",
            "-1/s",
            "+1/s",
            "1/week",
            "1/s burst",
            "1/s burst 0",
            "1/s 5",
            "1/s burst 1 x",
            "99999999999/s",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(RateError), "{bad}");
        }
    }
}
