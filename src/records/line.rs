//! One line of the access log as a value that borrows from it.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, Error};

use crate::clock::WallTime;

/// What [`line`](crate::access_log) wrote. Fields that are not known are passed over, and all but the time may be missing,
/// so that logs of other versions can be read.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Record<'a> {
    /// When the head was complete.
    #[serde(deserialize_with = "moment")]
    pub time: WallTime,
    /// The request's id.
    #[serde(default)]
    pub id: &'a str,
    /// The client's address.
    #[serde(default)]
    pub client: &'a str,
    /// The method.
    #[serde(default)]
    pub method: &'a str,
    /// The path, or `[hidden]`. The only text that may need escapes.
    #[serde(default, borrow)]
    pub path: Cow<'a, str>,
    /// The route, or the webhook.
    #[serde(default)]
    pub route: &'a str,
    /// The id of the key, of whoever proved one.
    pub key: Option<&'a str>,
    /// The scope that allowed it.
    pub scope: Option<&'a str>,
    /// The status of the answer; `None` if the client left before it.
    pub status: Option<u16>,
    /// Why it was refused: a [`reason`](crate::denial::Denial::reason).
    pub reason: Option<&'a str>,
    /// What was ambiguous.
    pub detail: Option<&'a str>,
    /// What became of a webhook delivery that was not the CRM's to say.
    pub delivery: Option<&'a str>,
    /// Who sent an update, by the rules about senders: `expected`, `unexpected` or `blocked`.
    pub sender: Option<&'a str>,
    /// Whether somebody was there then: `in` or `out` of business hours.
    pub hours: Option<&'a str>,
    /// Why it would have been refused, if its key were not merely observed.
    pub observed: Option<&'a str>,
    /// How the exchange ended.
    #[serde(default)]
    pub end: &'a str,
    /// Body bytes from the client.
    #[serde(default)]
    pub bytes_in: u64,
    /// Body bytes to the client.
    #[serde(default)]
    pub bytes_out: u64,
    /// From the complete head to the last byte, in microseconds.
    #[serde(default)]
    pub us: u64,
    /// From sending the request to the CRM to its response head, in microseconds.
    pub upstream_us: Option<u64>,
    /// How many requests the line stands for; `None` for one.
    pub sampled: Option<u32>,
}

/// Why a line has no [`Record`].
#[derive(Debug, thiserror::Error)]
#[error("not a line of the access log: {0}")]
pub struct LineError(#[from] serde_json::Error);

impl<'a> Record<'a> {
    /// Reads one line, with or without its line feed.
    ///
    /// # Errors
    /// It is torn, not JSON, or not a line of the access log.
    pub fn of(line: &'a [u8]) -> Result<Self, LineError> {
        Ok(serde_json::from_slice(line)?)
    }

    /// When the line was written, near enough: when the exchange ended. Lines stand in this order, not in that of `time`,
    /// for a tunnel may have been open for a day.
    pub fn written(&self) -> WallTime {
        self.time.after(std::time::Duration::from_micros(self.us))
    }

    /// How many requests the line stands for.
    pub fn weight(&self) -> u64 {
        self.sampled.map_or(1, |count| u64::from(count.max(1)))
    }

    /// True if the request was refused, or could not be answered by the CRM.
    pub const fn is_refused(&self) -> bool {
        self.reason.is_some()
    }
}

fn moment<'de, D: Deserializer<'de>>(from: D) -> Result<WallTime, D::Error> {
    let text = <&str>::deserialize(from)?;
    stamp(text.as_bytes()).ok_or_else(|| D::Error::custom("not a moment"))
}

/// `2026-11-22T10:00:00.123Z`, or any other RFC 3339.
fn stamp(text: &[u8]) -> Option<WallTime> {
    let text = std::str::from_utf8(text).ok()?;
    let stamp: jiff::Timestamp = text.parse().ok()?;
    Some(WallTime::from_unix_millis(stamp.as_millisecond()))
}

/// The text of a line's time, where a line has it if it was not changed: 24 characters that sort as moments do.
pub(super) fn leading_stamp(line: &[u8]) -> Option<&[u8]> {
    let (stamp, rest) = line.strip_prefix(b"{\"time\":\"")?.split_at_checked(24)?;
    (stamp.ends_with(b"Z") && rest.starts_with(b"\"")).then_some(stamp)
}

/// `moment` as [`leading_stamp`] has it; `None` for years that have other than four digits.
pub(super) fn sorting_stamp(moment: WallTime) -> Option<Vec<u8>> {
    let stamp = jiff::Timestamp::from_millisecond(moment.unix_millis()).ok()?;
    let text = format!("{stamp:.3}");
    (text.len() == 24 && !text.starts_with('-')).then(|| text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2026-11-22T10:00:00.123Z","id":"00ff","client":"::1","method":"GET","path":"/a\"\u001b","route":"api","key":"k","new":{"x":[1]},"status":200,"end":"complete","bytes_in":1,"bytes_out":2,"us":1500,"sampled":10}"#;

    #[test]
    fn known_fields_are_read_and_others_passed_over() {
        let record = Record::of(LINE.as_bytes()).unwrap();
        assert_eq!(record.time, WallTime::from_unix_millis(1_795_341_600_123));
        assert_eq!((record.client, record.path.as_ref(), record.key), ("::1", "/a\"\u{1b}", Some("k")));
        assert_eq!((record.weight(), record.status, record.reason), (10, Some(200), None));
        assert_eq!(record.written(), WallTime::from_unix_millis(1_795_341_600_124));
        let least = Record::of(b"{\"time\":\"2026-11-22T11:00:00.123+01:00\"}\n").unwrap();
        assert_eq!((least.time, least.weight()), (record.time, 1));
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for end in 0..LINE.len() {
            assert!(Record::of(LINE.get(..end).unwrap().as_bytes()).is_err(), "{end}");
        }
        for bad in ["", "\0\0", "7", "{}", "{\"time\":7}", "{\"time\":\"soon\"}", &format!("{LINE}{LINE}")] {
            assert!(Record::of(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn stamps_sort() {
        let moment = WallTime::from_unix_millis(1_795_341_600_120);
        assert_eq!(sorting_stamp(moment).unwrap(), b"2026-11-22T10:00:00.120Z");
        assert!(leading_stamp(LINE.as_bytes()).unwrap() > sorting_stamp(moment).unwrap().as_slice());
        assert_eq!(leading_stamp(b"{\"time\":\"2026-11-22T10:00:00Z\"}"), None);
        assert_eq!(sorting_stamp(WallTime::MAX), None);
    }
}
