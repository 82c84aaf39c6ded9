//! Time stamps: one form for each sender, and a window around now.

use super::description::{Timestamp, TimestampUnit};
use crate::clock::WallTime;
use crate::denial::DeliveryFault;

impl Timestamp {
    /// Refuses what was signed too long ago, or further ahead than clocks differ. Both bounds are still believed.
    pub(super) fn judge(&self, text: &[u8], now: WallTime) -> Result<(), DeliveryFault> {
        let (signed, now, per_second) = match self.unit {
            TimestampUnit::Seconds => (digits(text), now.unix_secs(), 1),
            TimestampUnit::Milliseconds => (digits(text), now.unix_millis(), 1000),
            TimestampUnit::Iso8601 => (iso8601(text), now.unix_millis(), 1000),
        };
        let age = i128::from(now) - signed.ok_or(DeliveryFault::TimestampMalformed)?;
        let bound = |seconds: u32| i128::from(seconds) * per_second;
        if self.past_seconds.is_some_and(|past| age > bound(past)) {
            Err(DeliveryFault::TimestampTooOld)
        } else if self.future_seconds.is_some_and(|future| -age > bound(future)) {
            Err(DeliveryFault::TimestampInFuture)
        } else {
            Ok(())
        }
    }
}

/// 1 to 19 ASCII digits, nothing else.
fn digits(text: &[u8]) -> Option<i128> {
    let fits = (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| fits)?.parse().ok()
}

/// `YYYY-MM-DDThh:mm:ss[.f]Z` with 1 to 9 digits of fraction, in milliseconds since 1970.
fn iso8601(text: &[u8]) -> Option<i128> {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let (whole, rest) = text.split_at_checked(FORM.len())?;
    let like = |(byte, form): (&u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == form };
    let fraction = match rest {
        b"Z" => true,
        [b'.', fraction @ .., b'Z'] => {
            (1..=9).contains(&fraction.len()) && fraction.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    if !whole.iter().zip(FORM).all(like) || !fraction {
        return None;
    }
    let stamp: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(i128::from(stamp.as_millisecond()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::webhook::description::TimestampPlace;

    #[test]
    fn forms_and_windows() {
        let stamp = |unit| Timestamp {
            place: TimestampPlace::Header(http::header::DATE),
            unit,
            past_seconds: Some(300),
            future_seconds: Some(300),
        };
        let now = WallTime::from_unix_secs(1_760_000_000);
        let seconds = |text: &str| stamp(TimestampUnit::Seconds).judge(text.as_bytes(), now);
        assert_eq!(seconds("1759999700"), Ok(()));
        assert_eq!(seconds("1759999699"), Err(DeliveryFault::TimestampTooOld));
        assert_eq!(seconds("1760000300"), Ok(()));
        assert_eq!(seconds("1760000301"), Err(DeliveryFault::TimestampInFuture));
        assert_eq!(seconds("9999999999999999999"), Err(DeliveryFault::TimestampInFuture));
        for bad in ["", "+1760000000", "1760000000.0", " 1760000000", "1.76e9", "١٧", "00000000001760000000"]
        {
            assert_eq!(seconds(bad), Err(DeliveryFault::TimestampMalformed), "{bad}");
        }
        let iso = |text: &str| stamp(TimestampUnit::Iso8601).judge(text.as_bytes(), now);
        assert_eq!(iso("2025-10-09T08:53:20Z"), Ok(()));
        assert_eq!(iso("2025-10-09T08:48:19.999Z"), Err(DeliveryFault::TimestampTooOld));
        for bad in [
            "2025-10-09 08:53:20Z",
            "2025-10-09T08:53:20",
            "2025-10-09T08:53:20+00:00",
            "2025-10-09T08:53:20.Z",
            "2025-02-30T08:53:20Z",
            "2025-10-09t08:53:20z",
        ] {
            assert_eq!(iso(bad), Err(DeliveryFault::TimestampMalformed), "{bad}");
        }
    }
}
