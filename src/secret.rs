//! Text that must never be printed.

use subtle::ConstantTimeEq;
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
        !self.0.is_empty() && bool::from(self.0.as_slice().ct_eq(presented))
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
        assert!(!Secret::new("").matches(b""));
    }
}
