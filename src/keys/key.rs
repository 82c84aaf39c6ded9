//! One stored key.

use std::sync::Arc;

use crate::clock::WallTime;
use crate::credential::api_key::KeyDigest;
use crate::limits::rate::Rate;
use crate::policy::allowlist::Allowlist;
use crate::policy::scope::ScopeSet;

/// The public name of a key: `[A-Za-z0-9._-]{1,64}`. It may stand in logs, metrics and headers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(Arc<str>);

/// A title for people: 1 to 200 characters, none of them a control character.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Title(Box<str>);

/// Everything the key file says about a key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its public name.
    pub id: KeyId,
    /// Its name for people.
    pub title: Title,
    /// SHA-256 of its text.
    pub digest: KeyDigest,
    /// What it may do.
    pub scopes: ScopeSet,
    /// The names of `scopes`, joined by spaces, for the CRM.
    pub scope_names: Box<str>,
    /// When it was made.
    pub created: Option<WallTime>,
    /// When it stops working; `None` for never.
    pub expires: Option<WallTime>,
    /// From where it may be used.
    pub allow_from: Allowlist,
    /// Its own rate; otherwise the default.
    pub rate: Option<Rate>,
    /// Whether it was revoked by a line in the file.
    pub standing: Standing,
}

/// Whether a key was taken out of use by hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In use.
    Live,
    /// `revoked = true`.
    Revoked,
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
