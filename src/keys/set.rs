//! All keys of one key file, found by digest.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::key::{Ends, Key, Standing};
use super::state::{FirstUse, KeyState, KeyStates, PreviousUses};
use crate::clock::WallTime;
use crate::credential::api_key::{self, KeyDigest};
use crate::denial::Denial;
use crate::limits::limiter::Limiter;
use crate::limits::rate::Rate;
use crate::request_head::own_fields::OwnFields;

/// A stored key with its state resolved, so that a request looks nothing else up.
#[derive(Debug)]
#[repr(C)]
pub struct Holder {
    /// What is known beyond the file.
    pub state: Arc<KeyState>,
    /// Its requests at this rate; another rate in the file is another limiter.
    pub limiter: Arc<Limiter>,
    /// The first use of the present secret, while the end of the one before it counts from there.
    first_use: Option<Arc<FirstUse>>,
    /// The uses of the replaced secret, while there is one.
    pub previous_uses: Option<Arc<PreviousUses>>,
    /// What the CRM is told, made once.
    pub identity: Identity,
    /// What the file says.
    pub key: Key,
}

/// Which of a key's two secrets was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secret {
    /// The one that `digest` is of.
    Current,
    /// The one that a rotation replaced, within its time.
    Previous,
}

/// A key that was proved.
#[derive(Clone, Copy, Debug)]
pub struct Proved<'a> {
    /// Whose it is.
    pub holder: &'a Arc<Holder>,
    /// By which secret.
    pub secret: Secret,
}

impl Proved<'_> {
    /// Notes the use at `now`, and from where, if that is certain. The first use of a new secret can start the time of the
    /// one before it.
    pub fn used(&self, now: WallTime, from: Option<IpAddr>) {
        self.holder.state.used(now);
        if let Some(ip) = from {
            self.holder.state.origins.note(ip, now);
        }
        if let (Secret::Previous, Some(uses)) = (self.secret, &self.holder.previous_uses) {
            uses.note(now, from);
        }
        if let (Secret::Current, Some(first_use)) = (self.secret, &self.holder.first_use) {
            first_use.note(now);
        }
    }
}

impl Holder {
    fn join(key: Key, states: &KeyStates, default_rate: Rate) -> Self {
        let state = states.of(&key.id, key.rate.unwrap_or(default_rate));
        let counts = key.previous.is_some_and(|previous| matches!(previous.ends, Ends::AfterFirstUse(_)));
        let first_use = counts.then(|| state.first_use_of(&key.digest));
        let previous_uses = key.previous.map(|previous| state.previous_of(&previous.digest));
        let limiter = state.limiter();
        Self { identity: Identity::of(&key), key, state, limiter, first_use, previous_uses }
    }

    /// The moment at which the replaced secret stops working; `None` without one, and while the new one is unused.
    pub fn previous_until(&self) -> Option<WallTime> {
        match self.key.previous?.ends {
            Ends::At(until) => Some(self.at_the_latest(until)),
            Ends::AfterFirstUse(overlap) => {
                Some(self.at_the_latest(self.first_use.as_ref()?.at()?.after(overlap)))
            }
        }
    }

    /// No secret of a key outlives the key.
    fn at_the_latest(&self, until: WallTime) -> WallTime {
        self.key.expires.map_or(until, |expires| expires.min(until))
    }

    fn refusal(&self, secret: Secret, now: WallTime) -> Option<Denial> {
        let is_past = |moment: Option<WallTime>| moment.is_some_and(|moment| moment <= now);
        match (self.key.standing, secret) {
            (Standing::Decoy, _) => Some(Denial::CredentialDecoy),
            (Standing::Revoked, _) => Some(Denial::CredentialRevoked),
            (Standing::Live, Secret::Previous) if is_past(self.previous_until()) => {
                Some(Denial::CredentialExpired)
            }
            (Standing::Live, _) => is_past(self.key.expires).then_some(Denial::CredentialExpired),
        }
    }
}

const KEY_ID: HeaderName = HeaderName::from_static("x-sidelock-key-id");
const KEY_TITLE: HeaderName = HeaderName::from_static("x-sidelock-key-title");
const SCOPES: HeaderName = HeaderName::from_static("x-sidelock-scopes");

/// Who a key is, for the CRM.
#[derive(Clone, Debug)]
pub struct Identity(OwnFields);

impl Identity {
    /// `X-Sidelock-Key-Id`; `X-Sidelock-Key-Title`, in which `%` and what is not ASCII are percent-encoded UTF-8 (RFC 3986 section
    /// 2.1); `X-Sidelock-Scopes`, names joined by spaces.
    pub const fn fields(&self) -> &OwnFields {
        &self.0
    }

    fn of(key: &Key) -> Self {
        let value = |text: &str| HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
        let mut title = String::with_capacity(key.title.as_str().len());
        for byte in key.title.as_str().bytes() {
            match byte {
                0x20..=0x7e if byte != b'%' => title.push(char::from(byte)),
                _ => title.push_str(&format!("%{byte:02X}")),
            }
        }
        let mut fields = OwnFields::default();
        fields.say(&KEY_ID, &value(key.id.as_str()));
        fields.say(&KEY_TITLE, &value(&title));
        fields.say(&SCOPES, &value(&key.scope_names));
        Self(fields)
    }
}

/// The keys of one snapshot.
#[derive(Debug, Default)]
pub struct KeySet {
    by_digest: HashMap<KeyDigest, (Arc<Holder>, Secret), DigestHashing>,
    in_order: Vec<Arc<Holder>>,
    has_decoys: bool,
}

impl KeySet {
    /// Joins keys, whose ids and digests the key file guarantees to be distinct, with their states. `states` forgets
    /// every other key.
    pub fn join(keys: Vec<Key>, states: &KeyStates, default_rate: Rate) -> Self {
        let mut set = Self::default();
        for key in keys {
            let holder = Arc::new(Holder::join(key, states, default_rate));
            let previous = holder.key.previous.map(|previous| (previous.digest, Secret::Previous));
            let digests = [previous, Some((holder.key.digest, Secret::Current))];
            let entry = |(digest, secret)| (digest, (Arc::clone(&holder), secret));
            set.by_digest.extend(digests.into_iter().flatten().map(entry));
            set.has_decoys |= holder.key.standing == Standing::Decoy;
            set.in_order.push(holder);
        }
        let ids: std::collections::HashSet<_> = set.in_order.iter().map(|holder| &holder.key.id).collect();
        states.retain(|id| ids.contains(id));
        set
    }

    /// The key with this digest, its own or its replaced one, if it may be used now.
    ///
    /// # Errors
    /// [`Denial::CredentialUnknown`]; or the holder with [`Denial::CredentialRevoked`] or
    /// [`Denial::CredentialExpired`], which only whoever presents the right key gets to hear, or with
    /// [`Denial::CredentialDecoy`], which only the operator does.
    pub fn prove(&self, digest: &KeyDigest, now: WallTime) -> Result<Proved<'_>, Unproved<'_>> {
        let (holder, secret) =
            self.by_digest.get(digest).ok_or(Unproved { denial: Denial::CredentialUnknown, holder: None })?;
        let secret = *secret;
        match holder.refusal(secret, now) {
            None => Ok(Proved { holder, secret }),
            Some(denial) => Err(Unproved { denial, holder: Some(holder) }),
        }
    }

    /// The decoy that `text` is.
    pub fn decoy(&self, text: &[u8]) -> Option<Arc<Holder>> {
        if !self.has_decoys || !api_key::is_plausible(text) {
            return None;
        }
        let (holder, _) = self.by_digest.get(&KeyDigest::of(text))?;
        (holder.key.standing == Standing::Decoy).then(|| Arc::clone(holder))
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
