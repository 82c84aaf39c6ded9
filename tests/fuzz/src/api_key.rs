//! A presented key, and the text of a digest.

use sidelock::credential::api_key::{
    DigestMemo, KeyDigest, is_mistyped, is_own, is_plausible, may_hold_own, own_id,
};

/// One presented key.
pub fn run(data: &[u8]) {
    let memo = DigestMemo::default();
    let digest = is_plausible(data).then(|| KeyDigest::of(data));
    assert_eq!(memo.digest(data), digest, "a memory without a memory");
    assert_eq!(memo.digest(data), digest, "remembered");
    if is_own(data) {
        assert!(digest.is_some() && !is_mistyped(data) && may_hold_own(data));
        let mut other = data.to_vec();
        for at in 0..other.len() {
            other[at] ^= 1;
            assert!(!is_own(&other), "the check sum notices one changed bit");
            other[at] ^= 1;
        }
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(own_id(text).is_some(), is_own(data));
    if let Ok(digest) = text.parse::<KeyDigest>() {
        assert_eq!(digest.to_string(), text, "a digest has one spelling");
    }
}
