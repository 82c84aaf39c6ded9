//! All keys of one key file, found by digest.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use http::HeaderValue;

use super::key::{Key, Standing};
use super::state::{KeyState, KeyStates};
use crate::clock::WallTime;
use crate::credential::api_key::{self, KeyDigest};
use crate::denial::Denial;
use crate::limits::rate::Rate;

/// A stored key with its state resolved, so that a request looks nothing else up.
#[derive(Debug)]
pub struct Holder {
    /// What the file says.
    pub key: Key,
    /// What the CRM is told, made once.
    pub identity: Identity,
    /// What is known beyond the file.
    pub state: Arc<KeyState>,
}

/// The values of `X-Sidelock-Key-Id`, `-Key-Title` and `-Scopes`.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The id.
    pub id: HeaderValue,
    /// The title; `%` and what is not ASCII are percent-encoded UTF-8 (RFC 3986 section 2.1).
    pub title: HeaderValue,
    /// Names of scopes, joined by spaces.
    pub scopes: HeaderValue,
}

impl Identity {
    fn of(key: &Key) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut title = String::with_capacity(key.title.as_str().len());
        for byte in key.title.as_str().bytes() {
            match byte {
                0x20..=0x7e if byte != b'%' => title.push(char::from(byte)),
                _ => title.push_str(&format!("%{byte:02X}")),
            }
        }
        Self { id: value(key.id.as_str()), title: value(&title), scopes: value(&key.scope_names) }
    }
}

/// The keys of one snapshot.
#[derive(Debug, Default)]
pub struct KeySet {
    by_digest: HashMap<KeyDigest, Arc<Holder>, DigestHashing>,
    in_order: Vec<Arc<Holder>>,
}

impl KeySet {
    /// Joins keys, whose ids and digests the key file guarantees to be distinct, with their states. `states` forgets
    /// every other key.
    pub fn join(keys: Vec<Key>, states: &KeyStates, default_rate: Rate) -> Self {
        let mut set = Self::default();
        for key in keys {
            let state = states.of(&key.id, key.rate.unwrap_or(default_rate));
            let holder = Arc::new(Holder { identity: Identity::of(&key), key, state });
            set.by_digest.insert(holder.key.digest, Arc::clone(&holder));
            set.in_order.push(holder);
        }
        let ids: std::collections::HashSet<_> = set.in_order.iter().map(|holder| &holder.key.id).collect();
        states.retain(|id| ids.contains(id));
        set
    }

    /// The key with this digest, if it may be used now.
    ///
    /// # Errors
    /// [`Denial::CredentialUnknown`]; or the holder with [`Denial::CredentialRevoked`] or
    /// [`Denial::CredentialExpired`], which only whoever presents the right key gets to hear.
    pub fn prove(&self, digest: &KeyDigest, now: WallTime) -> Result<&Arc<Holder>, Unproved<'_>> {
        let holder =
            self.by_digest.get(digest).ok_or(Unproved { denial: Denial::CredentialUnknown, holder: None })?;
        let denial = match (holder.key.standing, holder.key.expires) {
            (Standing::Revoked, _) => Denial::CredentialRevoked,
            (Standing::Live, Some(expires)) if expires <= now => Denial::CredentialExpired,
            (Standing::Live, Some(_) | None) => return Ok(holder),
        };
        Err(Unproved { denial, holder: Some(holder) })
    }

    /// True if `text` is one of the keys, in use or not.
    pub fn knows(&self, text: &[u8]) -> bool {
        api_key::is_plausible(text) && self.by_digest.contains_key(&KeyDigest::of(text))
    }

    /// All keys, in the order of the file.
    pub fn all(&self) -> &[Arc<Holder>] {
        &self.in_order
    }
}

/// A presented key that proves nobody; the holder is known if the key was once right.
#[derive(Debug)]
pub struct Unproved<'a> {
    /// Why.
    pub denial: Denial,
    /// Whose it was.
    pub holder: Option<&'a Arc<Holder>>,
}

/// SHA-256 is already a uniform hash that no client can steer: its first 8 bytes do.
#[derive(Clone, Copy, Debug, Default)]
struct DigestHashing;

#[derive(Debug, Default)]
struct FirstEight(u64);

impl BuildHasher for DigestHashing {
    type Hasher = FirstEight;

    fn build_hasher(&self) -> FirstEight {
        FirstEight::default()
    }
}

impl Hasher for FirstEight {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk::<8>() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}
