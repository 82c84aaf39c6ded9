//! `[access_log]`: where the record of requests goes.

use super::Surroundings;
use super::reader::Section;
use crate::access_log::Destination;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// `file`: a path, `-` for standard output, `off` for none; default `state/access.ndjson`. Needs a restart.
    pub destination: Destination,
}

impl AccessLog {
    pub(super) fn read(section: Section<'_, '_>, around: &Surroundings<'_>) -> Self {
        let destination =
            match section.get("file").and_then(|value| value.text()).unwrap_or("state/access.ndjson") {
                "-" => Destination::Stdout,
                "off" => Destination::Off,
                path => Destination::File(around.path(path)),
            };
        section.finish();
        Self { destination }
    }
}
