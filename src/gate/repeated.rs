//! Copies of a credential elsewhere in a request.

use http::{HeaderMap, HeaderName};

/// Adds the headers whose value repeats a credential to those that do not go on, but `presented`, which is known to.
pub(super) fn holding(
    headers: &HeaderMap,
    credential: &[u8],
    presented: Option<&HeaderName>,
    strip: &mut Vec<HeaderName>,
) {
    for (name, value) in headers {
        if Some(name) != presented && contains(value.as_bytes(), credential) {
            strip.push(name.clone());
        }
    }
}

/// True if `needle` stands in `hay`. Most values are shorter than a key, and those cost one comparison.
pub(super) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty()
        && hay.len() >= needle.len()
        && hay.windows(needle.len()).any(|window| window == needle)
}
