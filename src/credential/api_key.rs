//! The text of a key, and the digest that is stored of it.
//!
//! Own keys are `slk_<8-character id>_<43 base62 characters>_<6 base62 characters of CRC-32>`: the prefix lets secret
//! scanners find a leaked one, the check sum tells a mistyped one from an unknown one. Keys that clients already hold can
//! be any visible ASCII of 16 to 512 bytes. Either way only SHA-256 of the whole text is stored: 256 random bits need no
//! slow hash, and the attacker does not choose the digest that is looked up.

use parking_lot::Mutex;
use ring::digest;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Shortest key, in bytes.
pub const FEWEST_BYTES: usize = 16;
/// Longest key, in bytes.
pub const MOST_BYTES: usize = 512;

/// How every own key starts. Never change it: scanners and clients know it.
pub const PREFIX: &str = "slk_";

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 8;
const RANDOM_LEN: usize = 43;
const CHECK_LEN: usize = 6;
const OWN_LEN: usize = PREFIX.len() + ID_LEN + 1 + RANDOM_LEN + 1 + CHECK_LEN;

/// SHA-256 of a whole key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyDigest([u8; 32]);

/// A key that was just made: the only time its text exists here.
pub struct PlainKey {
    text: Zeroizing<String>,
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

impl KeyDigest {
    /// The digest of a presented or new key.
    pub fn of(key: &[u8]) -> Self {
        let mut out = [0; 32];
        out.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        Self(out)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The digest of the text that was digested last. One per connection: most clients present the same key with each request,
/// and SHA-256 is the dearest step of a decision. It remembers a pure function and no verdict: a revoked key is looked up,
/// and refused, like any other.
#[derive(Debug, Default)]
pub struct DigestMemo(Mutex<Option<(Secret, KeyDigest)>>);

impl DigestMemo {
    /// The digest of `key`; `None` if it [cannot be one](is_plausible).
    pub fn digest(&self, key: &[u8]) -> Option<KeyDigest> {
        let mut last = self.0.lock();
        if let Some((text, digest)) = &*last
            && text.matches(key)
        {
            return Some(*digest);
        }
        if !is_plausible(key) {
            return None;
        }
        let digest = KeyDigest::of(key);
        *last = Some((Secret::new(key), digest));
        Some(digest)
    }
}

impl std::fmt::Display for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for KeyDigest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let hex = text.strip_prefix("sha256:").ok_or(DigestError)?;
        let mut out = [0_u8; 32];
        if hex.len() != 64 || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(DigestError);
        }
        for (slot, pair) in out.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(pair).unwrap_or_default();
            *slot = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
        Ok(Self(out))
    }
}

/// Not the text of a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 'sha256:' and 64 lower-case hexadecimal digits")]
pub struct DigestError;

impl PlainKey {
    /// A new key from the operating system's randomness.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut id = String::with_capacity(ID_LEN);
        push_random(&mut id, ID_LEN)?;
        Self::within(&id)
    }

    /// A new key that carries `id`; a random id instead if that has not the form of one.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn generate_for(id: &str) -> Result<Self, NoRandomness> {
        if id.len() == ID_LEN && is_base62(id.as_bytes()) { Self::within(id) } else { Self::generate() }
    }

    fn within(id: &str) -> Result<Self, NoRandomness> {
        let mut text = Zeroizing::new(String::with_capacity(OWN_LEN));
        text.push_str(PREFIX);
        text.push_str(id);
        text.push('_');
        push_random(&mut text, RANDOM_LEN)?;
        let check = check_sum(text.as_bytes());
        text.push('_');
        text.extend(check.map(char::from));
        Ok(Self { text })
    }

    /// The whole key, for showing it once.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The public id within it.
    pub fn id(&self) -> &str {
        self.text.get(PREFIX.len()..PREFIX.len() + ID_LEN).unwrap_or_default()
    }

    /// What the key file stores.
    pub fn digest(&self) -> KeyDigest {
        KeyDigest::of(self.text.as_bytes())
    }
}

impl std::fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PlainKey({PREFIX}{}_…)", self.id())
    }
}

/// Whether a presented text is worth a look-up: visible ASCII of a length that keys have.
pub fn is_plausible(presented: &[u8]) -> bool {
    // Without an early end, so that it becomes one pass of wide instructions.
    let visible = presented.iter().fold(true, |visible, byte| visible & (0x21..=0x7e).contains(byte));
    visible && (FEWEST_BYTES..=MOST_BYTES).contains(&presented.len())
}

/// Whether a text that no key has looks like an own key that was copied wrongly. Asked after the look-up, so that good
/// keys do not pay for it.
pub fn is_mistyped(presented: &[u8]) -> bool {
    presented.starts_with(PREFIX.as_bytes()) && !is_own(presented)
}

/// True if a path has the beginning of an own key somewhere.
pub fn may_hold_own(path: &[u8]) -> bool {
    // A key is long: most paths are too short to hold one.
    path.len() >= OWN_LEN && path.windows(PREFIX.len()).any(|window| window == PREFIX.as_bytes())
}

/// True for the full form of an own key with a fitting check sum.
pub fn is_own(text: &[u8]) -> bool {
    let Some((rest, check)) = text.split_last_chunk::<CHECK_LEN>() else { return false };
    let Some((b'_', before)) = rest.split_last() else { return false };
    let Some((id, random)) =
        before.strip_prefix(PREFIX.as_bytes()).and_then(|it| it.split_at_checked(ID_LEN))
    else {
        return false;
    };
    let Some((b'_', random)) = random.split_first() else { return false };
    random.len() == RANDOM_LEN && is_base62(id) && is_base62(random) && check_sum(before) == *check
}

fn is_base62(text: &[u8]) -> bool {
    // Without an early end, so that it becomes one pass of wide instructions.
    text.iter().fold(true, |fits, byte| fits & byte.is_ascii_alphanumeric())
}

/// The id within an own key with a fitting check sum.
pub fn own_id(text: &str) -> Option<&str> {
    is_own(text.as_bytes()).then(|| text.get(PREFIX.len()..PREFIX.len() + ID_LEN)).flatten()
}

/// CRC-32 (IEEE 802.3) in six base62 digits, most significant first.
fn check_sum(text: &[u8]) -> [u8; CHECK_LEN] {
    let mut crc = crc32fast::hash(text);
    let mut digits = [b'0'; CHECK_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = base62_digit(crc % 62);
        crc /= 62;
    }
    digits
}

fn base62_digit(value: u32) -> u8 {
    usize::try_from(value).ok().and_then(|at| BASE62.get(at)).copied().unwrap_or(b'0')
}

/// Uniform base62 digits: bytes of 248 and more are drawn again, for 248 is the largest multiple of 62 in a byte.
fn push_random(text: &mut String, digits: usize) -> Result<(), NoRandomness> {
    let goal = text.len() + digits;
    let mut bytes = Zeroizing::new([0_u8; 64]);
    while text.len() < goal {
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| NoRandomness)?;
        for byte in bytes.iter().filter(|byte| **byte < 248).take(goal - text.len()) {
            text.push(char::from(base62_digit(u32::from(byte % 62))));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_own_and_any_slip_is_not() {
        let key = PlainKey::generate().unwrap();
        let text = key.expose();
        assert_eq!(text.len(), OWN_LEN);
        assert!(is_own(text.as_bytes()) && is_plausible(text.as_bytes()));
        assert_eq!(key.digest(), KeyDigest::of(text.as_bytes()));
        for at in PREFIX.len()..text.len() {
            let mut slipped = text.as_bytes().to_vec();
            slipped[at] = if slipped[at] == b'a' { b'b' } else { b'a' };
            assert!(is_mistyped(&slipped), "{at}");
        }
        assert!(is_mistyped(&text.as_bytes()[..text.len() - 1]) && !is_mistyped(text.as_bytes()));
        assert!(!is_plausible(format!(" {text}").as_bytes()));
        assert_eq!(format!("{key:?}"), format!("PlainKey(slk_{}_…)", key.id()));
    }

    #[test]
    fn imported_keys_are_visible_ascii_of_a_fair_length() {
        assert!(is_plausible(b"0123456789abcdef"));
        assert!(!is_plausible(b"0123456789abcde"));
        assert!(!is_plausible(b"0123456789 abcdef"));
        assert!(!is_plausible("0123456789abcdefé".as_bytes()));
        assert!(!is_plausible(&[b'a'; MOST_BYTES + 1]));
    }

    #[test]
    fn the_memo_is_only_a_memo() {
        let memo = DigestMemo::default();
        for key in [&b"first-key-0123456"[..], b"first-key-0123456", b"other-key-0123456"] {
            assert_eq!(memo.digest(key), Some(KeyDigest::of(key)));
        }
        for implausible in [&b""[..], b"", b"short"] {
            assert_eq!(memo.digest(implausible), None);
        }
    }

    #[test]
    fn digests_read_back() {
        let digest = KeyDigest::of(b"abc");
        assert_eq!(
            digest.to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in [
            "",
            "sha256:",
            "ba7816",
            "sha256:BA7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        ] {
            assert_eq!(bad.parse::<KeyDigest>(), Err(DigestError), "{bad}");
        }
    }
}
