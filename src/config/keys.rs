//! `[keys]`: where the keys are stored, and where clients put them.

use std::path::PathBuf;

use super::Surroundings;
use super::reader::Section;
use crate::credential::places::Places;
use crate::gate::PresentedKey;
use crate::policy::pack::Pack;

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// `file`: the key file; without one, no key opens anything.
    pub file: Option<PathBuf>,
    /// `present`: default as the pack says, or `authorization: bearer` and `x-api-key`.
    pub places: Places,
    /// `forward`: true leaves the presented key in the request; default false.
    pub presented_key: PresentedKey,
}

impl Keys {
    pub(super) fn read(section: Section<'_, '_>, around: &Surroundings<'_>, pack: Option<&Pack>) -> Self {
        let file = section.get("file").and_then(|value| value.text()).map(|text| around.path(text));
        let places = section.get("present").map(|value| {
            let places = value.parse_all();
            if places.is_empty() {
                value.reading().error(value.span(), "at least one place is needed", None);
            }
            Places::new(places)
        });
        let forward = section.get("forward").and_then(|value| value.truth());
        section.finish();
        let presented_key =
            if forward == Some(true) { PresentedKey::Forwarded } else { PresentedKey::Removed };
        let usual = || match pack {
            Some(pack) if !pack.present.is_empty() => Places::new(pack.present.clone()),
            Some(_) | None => Places::default(),
        };
        Self { file, places: places.unwrap_or_else(usual), presented_key }
    }
}
