//! Text that must never be printed.

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// A secret: wiped when dropped, `Debug` prints no part of it, compared in constant time.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the secret's bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for use in one place that sends or hashes them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True for no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Constant-time comparison: its time tells the lengths apart, and nothing else. An empty secret equals nothing.
    pub fn matches(&self, presented: &[u8]) -> bool {
        if self.0.is_empty() || self.0.len() != presented.len() {
            return false;
        }
        // Eight bytes at a time: byte by byte it would be the dearest step of a request.
        let words = self.0.chunks(8).zip(presented.chunks(8));
        bool::from(words.fold(Choice::from(1), |equal, (own, given)| equal & word(own).ct_eq(&word(given))))
    }
}

/// Up to eight bytes as a number.
fn word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk::<8>() {
        Some(whole) => u64::from_le_bytes(*whole),
        None => bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_and_empty_matches_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
        assert!(Secret::new("a").matches(b"a"));
        assert!(!Secret::new("a").matches(b"b"));
        let long = b"0123456789abcdefghi";
        assert!(Secret::new(&long[..]).matches(long));
        for at in 0..long.len() {
            let mut other = *long;
            other[at] ^= 1;
            assert!(!Secret::new(&long[..]).matches(&other), "{at}");
            assert!(!Secret::new(&long[..]).matches(&long[..at]), "{at}");
        }
        assert!(!Secret::new("").matches(b""));
    }
}
