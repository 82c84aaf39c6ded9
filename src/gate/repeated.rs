//! Copies of a credential elsewhere in a request.

use http::{HeaderMap, HeaderName};

/// Headers whose value repeats a credential.
pub(super) fn holding<'a>(
    headers: &'a HeaderMap,
    credential: &'a [u8],
) -> impl Iterator<Item = HeaderName> + 'a {
    headers.iter().filter(|(_, value)| contains(value.as_bytes(), credential)).map(|(name, _)| name.clone())
}

/// True if `needle` stands in `hay`. Most values are shorter than a key, and those cost one comparison.
pub(super) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    !needle.is_empty()
        && hay.len() >= needle.len()
        && hay.windows(needle.len()).any(|window| window == needle)
}
