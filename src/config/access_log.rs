//! `[access_log]`: where the record of requests goes, and how long it stays.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use super::Surroundings;
use super::reader::Section;
use super::units::{Size, Span};
use crate::access_log::sampling::Sampling;
use crate::access_log::{Destination, Rotation, Settings};

const HOUR: Duration = Duration::from_secs(3_600);
const MIB: u64 = 1 << 20;

/// The section. Needs a restart.
///
/// - `file`: a path, `-` for standard output, `off` for none; default `access.ndjson` in the `state_dir`.
/// - `rotate_size`: bytes of a file, from 4 KiB; default 256 MiB.
/// - `rotate_every`: files end where a multiple of this ends in UTC, from a minute; default 24 h.
/// - `keep`: time from the end of a file to its removal, from an hour; default 30 days.
/// - `keep_size`: bytes of all files together; default 10 GiB.
/// - `sample`: the share of successes that is written; default all.
///
/// `off` for each of the four in the middle is never, or for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog(pub Settings);

impl AccessLog {
    pub(super) fn read(section: Section<'_, '_>, around: &Surroundings<'_>, state_dir: &Path) -> Self {
        let destination = match section.get("file").and_then(|value| value.text()) {
            Some("-") => Destination::Stdout,
            Some("off") => Destination::Off,
            Some(path) => Destination::File(around.path(path)),
            None => Destination::File(state_dir.join("access.ndjson")),
        };
        let size =
            |key, default| or_off(&section, key, Size(4 << 10), Size(default)).map(|Size(bytes)| bytes);
        let span = |key, least, default| or_off(&section, key, Span(least), Span(default)).map(|Span(it)| it);
        let rotation = Rotation {
            size: size("rotate_size", 256 * MIB),
            every: span("rotate_every", Duration::from_secs(60), 24 * HOUR),
            keep: span("keep", HOUR, 30 * 24 * HOUR),
            keep_size: size("keep_size", 10_240 * MIB),
        };
        let sampling = section.get("sample").and_then(|value| value.parse()).unwrap_or(Sampling::ALL);
        section.finish();
        Self(Settings { destination, rotation, sampling })
    }
}

/// A value of at least `least`, or `None` for `off`.
fn or_off<T>(section: &Section<'_, '_>, key: &'static str, least: T, default: T) -> Option<T>
where
    T: FromStr + PartialOrd + Display,
    T::Err: Display,
{
    let Some(value) = section.get(key) else { return Some(default) };
    if value.as_text() == Some("off") {
        return None;
    }
    let parsed: T = value.parse()?;
    if parsed < least {
        value.reading().error(value.span(), format!("expected at least {least}, or \"off\""), None);
    }
    Some(parsed)
}
