//! One stored key.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::WallTime;
use crate::credential::api_key::KeyDigest;
use crate::limits::rate::Rate;
use crate::policy::allowlist::Allowlist;
use crate::policy::crm_credential::CredentialId;
use crate::policy::scope::ScopeSet;
use crate::tls::certificate::Wanted;

/// The public name of a key: `[A-Za-z0-9._-]{1,64}`. It may stand in logs, metrics and headers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

/// A title for people: 1 to 200 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(Box<str>);

/// Everything the key file says about a key. In this order: what every request asks for lies together.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Key {
    /// Whether a line in the file takes it out of use.
    pub standing: Standing,
    /// Whether its own limits refuse, or are tried out.
    pub mode: Mode,
    /// When it stops working; `None` for never.
    pub expires: Option<WallTime>,
    /// What it may do.
    pub scopes: ScopeSet,
    /// From where it may be used.
    pub allow_from: Allowlist,
    /// The client certificate that it must come with; `None` for whichever, or none.
    pub client_cert: Option<Box<Wanted>>,
    /// As whom the CRM is asked; otherwise as the scope says.
    pub credential: Option<CredentialId>,
    /// Its public name.
    pub id: KeyId,
    /// SHA-256 of its text.
    pub digest: KeyDigest,
    /// The secret that the last rotation replaced, while it is in the file.
    pub previous: Option<Previous>,
    /// Its name for people.
    pub title: Title,
    /// The names of `scopes`, joined by spaces, for the CRM.
    pub scope_names: Box<str>,
    /// When it was made.
    pub created: Option<WallTime>,
    /// Its own rate; otherwise the default.
    pub rate: Option<Rate>,
    /// What the file says for people; `None` if it says nothing, which costs nothing.
    pub about: Option<Box<About>>,
}

/// The secret that a rotation replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Previous {
    /// SHA-256 of its text.
    pub digest: KeyDigest,
    /// When it stops working.
    pub ends: Ends,
}

/// When a replaced secret stops working.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// `until`: at this moment.
    At(WallTime),
    /// `overlap`: so long after the new secret's first use. That moment is known to the running process alone: a restart
    /// counts anew, from the next use.
    AfterFirstUse(Duration),
}

/// What the file says about a key for people and commands; no decision stands on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Who answers for it.
    pub owner: Option<Box<str>>,
    /// Anything.
    pub note: Option<Box<str>>,
    /// Why it never expires.
    pub reason: Option<Box<str>>,
    /// When the present secret took the place of another.
    pub rotated: Option<WallTime>,
    /// When it was revoked.
    pub revoked_at: Option<WallTime>,
    /// Why it was revoked.
    pub revoked_reason: Option<Box<str>>,
}

/// What becomes of a request that a key's scopes, addresses or rate do not allow. All else is refused in both modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It passes and is counted, so that one can see what a stricter key would break.
    Observe,
}

/// Whether a key opens anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Live,
    /// `revoked = true`.
    Revoked,
    /// `decoy = true`: it lies about to be stolen, and whoever presents it is a thief. Comes before revocation and expiry.
    Decoy,
}

impl KeyId {
    /// Checks the characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Mode {
    /// The word in the key file.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
        }
    }
}

impl Title {
    /// Checks length and characters.
    pub fn new(text: &str) -> Option<Self> {
        let count = text.chars().take(201).count();
        ((1..=200).contains(&count) && !text.chars().any(char::is_control)).then(|| Self(text.into()))
    }

    /// The title.
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}
