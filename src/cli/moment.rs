//! Moments as people type them.

use std::str::FromStr;
use std::time::Duration;

use crate::clock::WallTime;
use crate::config::units::Span;

/// `72h` before now, or a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    Ago(Duration),
    At(WallTime),
    /// `all`: since ever.
    Ever,
}

/// Not a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time span before now such as '72h' or '7d', a moment such as '2026-11-22T10:00:00Z', a day such as '2026-11-22' (UTC), or 'all'"
)]
pub(super) struct WhenError;

impl FromStr for When {
    type Err = WhenError;

    fn from_str(text: &str) -> Result<Self, WhenError> {
        if text == "all" {
            return Ok(Self::Ever);
        }
        if let Ok(Span(span)) = text.parse() {
            return Ok(Self::Ago(span));
        }
        let stamp: Result<jiff::Timestamp, _> = text.parse();
        let is_day = text.len() == 10;
        let stamp =
            stamp.or_else(|error| if is_day { format!("{text}T00:00:00Z").parse() } else { Err(error) });
        let stamp = stamp.map_err(|_| WhenError)?;
        Ok(Self::At(WallTime::from_unix_millis(stamp.as_millisecond())))
    }
}

impl When {
    /// The moment itself; `None` for no bound.
    pub(super) fn from(self, now: WallTime) -> Option<WallTime> {
        match self {
            Self::Ago(span) => Some(now.before(span)),
            Self::At(moment) => Some(moment),
            Self::Ever => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_moments_and_days() {
        let now = WallTime::from_unix_secs(1_795_341_600);
        let from = |text: &str| text.parse::<When>().map(|it| it.from(now));
        assert_eq!(from("1h"), Ok(Some(WallTime::from_unix_secs(1_795_338_000))));
        assert_eq!(from("2026-11-22T11:00:00+01:00"), Ok(Some(now)));
        assert_eq!(from("2026-11-22"), Ok(Some(WallTime::from_unix_secs(1_795_305_600))));
        assert_eq!(from("all"), Ok(None));
        for bad in ["", "yesterday", "10", "2026-11-22T10:00:00", "2026-13-01", "-1h"] {
            assert_eq!(from(bad), Err(WhenError), "{bad}");
        }
    }
}
