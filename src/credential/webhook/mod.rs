//! What a webhook sender proves itself with. [`Proof`] names the scheme; today every scheme is a shared [`token`]. A
//! signature scheme is one more variant: it needs the body, so it is proved after the body was read, and before its first
//! byte goes on.

pub mod strict_json;
pub mod telegram;
pub mod token;

use http::HeaderMap;

use crate::denial::Denial;
use crate::secret::Secret;
use token::Token;

/// The scheme of one webhook.
#[derive(Debug)]
pub enum Proof {
    /// A secret that travels with each delivery.
    Token(Token),
}

impl Proof {
    /// True if `text` is one of the live secrets.
    pub fn is_secret(&self, text: &[u8]) -> bool {
        match self {
            Self::Token(token) => token.is_secret(text),
        }
    }

    /// Proves a delivery by its head alone.
    ///
    /// # Errors
    /// [`Denial::WebhookSecretMissing`], [`Denial::WebhookSecretWrong`] or an ambiguity (the secret twice).
    pub fn by_head(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Proved, Denial> {
        match self {
            Self::Token(token) => token.verify(headers, query),
        }
    }
}

/// A delivery that is genuine, and which of the live secrets said so.
#[derive(Clone, Debug)]
pub struct Proved {
    /// Position in the configured list.
    pub secret_index: usize,
    /// What was presented, so that no copy of it goes on.
    pub presented: Secret,
}
