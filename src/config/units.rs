//! Durations and sizes as people write them.

use std::str::FromStr;
use std::time::Duration;

/// `500ms`, `10s`, `5min`, `1h`, `90d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// `8192`, `16KiB`, `100MiB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Not a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a duration such as '500ms', '10s', '5min', '1h' or '90d'")]
pub struct SpanError;

/// Not a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a size such as '16KiB', '100MiB' or '1GiB'")]
pub struct SizeError;

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let (number, unit) = split(text).ok_or(SpanError)?;
        let millis_per = match unit {
            "ms" => 1,
            "s" => 1_000,
            "min" | "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(SpanError),
        };
        number.checked_mul(millis_per).map(|millis| Self(Duration::from_millis(millis))).ok_or(SpanError)
    }
}

impl std::fmt::Display for Span {
    /// In the largest unit that needs no fraction, as it would be read back.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
        let fits = |(length, _): &&(u128, &str)| millis > 0 && millis.is_multiple_of(*length);
        let (length, unit) = units.iter().find(fits).unwrap_or(&(1, "ms"));
        write!(f, "{}{unit}", millis / length)
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let (number, unit) = split(text).ok_or(SizeError)?;
        let bytes_per = match unit {
            "" | "B" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(SizeError),
        };
        number.checked_mul(bytes_per).map(Self).ok_or(SizeError)
    }
}

impl std::fmt::Display for Size {
    /// In the largest unit that needs no fraction, as it would be read back.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        let fits = |(length, _): &&(u64, &str)| self.0 > 0 && self.0.is_multiple_of(*length);
        let (length, unit) = units.iter().find(fits).unwrap_or(&(1, ""));
        write!(f, "{}{unit}", self.0 / length)
    }
}

fn split(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_them() {
        assert_eq!("10s".parse(), Ok(Span(Duration::from_secs(10))));
        assert_eq!("5 min".parse(), Ok(Span(Duration::from_secs(300))));
        assert_eq!("90d".parse(), Ok(Span(Duration::from_secs(90 * 86_400))));
        assert_eq!("16KiB".parse(), Ok(Size(16_384)));
        for text in ["500ms", "10s", "90min", "25h", "90d", "0ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["0", "1000", "4KiB", "256MiB", "10GiB", "1025KiB"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        for bad in ["", "s", "10", "10x", "-1s", "1.5h", "99999999999999999999d"] {
            assert_eq!(bad.parse::<Span>(), Err(SpanError), "{bad}");
        }
        for bad in ["", "KiB", "10kb", "-1"] {
            assert_eq!(bad.parse::<Size>(), Err(SizeError), "{bad}");
        }
    }
}
