//! The primitives, all of them `ring`'s: keys are prepared once, and every comparison takes the same time whatever it finds.

use ring::{digest, hmac, signature};
use subtle::{Choice, ConstantTimeEq};

use super::message::Piece;
use super::signature::{from_base64, from_hex};
use crate::secret::Secret;

/// What makes signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primitive {
    /// HMAC-SHA-1, which is weak only where collisions matter; old senders have nothing else.
    HmacSha1,
    /// HMAC-SHA-256 (RFC 2104).
    HmacSha256,
    /// HMAC-SHA-512.
    HmacSha512,
    /// SHA-256 over a message that begins with the secret: whoever sees one can append to it.
    Sha256,
    /// Ed25519 (RFC 8032).
    Ed25519,
    /// ECDSA over P-256 with SHA-256 and a DER signature.
    EcdsaP256Sha256,
}

/// How a secret's text becomes a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyForm {
    /// How the key's bytes are written.
    pub encoding: KeyEncoding,
    /// Text before it that does not count, if it is there.
    pub strip_prefix: Option<Box<str>>,
}

/// How a key's bytes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyEncoding {
    /// They are the text itself.
    Utf8,
    /// Base64 (RFC 4648 section 4).
    Base64,
    /// Hexadecimal.
    Hex,
    /// Base64 of a `SubjectPublicKeyInfo` (RFC 5280 section 4.1).
    SpkiDerBase64,
}

/// Why a secret is no key of this scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not in the encoding.
    #[error("the secret is not {0}")]
    Encoding(&'static str),
    /// A public key of another length.
    #[error("the key has another length than this kind of public key")]
    PublicKey,
    /// No bytes.
    #[error("the secret is empty")]
    Empty,
}

/// A key that is ready.
#[derive(Clone)]
pub(super) enum Key {
    Mac(hmac::Key),
    Hash(Secret),
    Public(signature::UnparsedPublicKey<Vec<u8>>),
}

impl Primitive {
    /// Lengths that a signature can have, in bytes.
    pub(super) fn signature_bytes(self) -> std::ops::RangeInclusive<usize> {
        match self {
            Self::HmacSha1 => 20..=20,
            Self::HmacSha256 | Self::Sha256 => 32..=32,
            Self::HmacSha512 | Self::Ed25519 => 64..=64,
            // DER: two integers of 1 to 33 bytes.
            Self::EcdsaP256Sha256 => 8..=72,
        }
    }

    /// True if equal messages have equal signatures, so that the signature tells one message from another.
    pub(super) const fn is_deterministic(self) -> bool {
        match self {
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha512 | Self::Sha256 => true,
            // From one ECDSA signature anyone can make a second one of the same message.
            Self::Ed25519 | Self::EcdsaP256Sha256 => false,
        }
    }

    /// True where the configured text is no secret.
    pub const fn is_public_key(self) -> bool {
        match self {
            Self::HmacSha1 | Self::HmacSha256 | Self::HmacSha512 | Self::Sha256 => false,
            Self::Ed25519 | Self::EcdsaP256Sha256 => true,
        }
    }

    /// Makes a key of a secret's text.
    pub(super) fn key(self, form: &KeyForm, secret: &Secret) -> Result<Key, KeyError> {
        let bytes = form.bytes(secret)?;
        match self {
            Self::HmacSha1 => {
                Ok(Key::Mac(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, bytes.expose())))
            }
            Self::HmacSha256 => Ok(Key::Mac(hmac::Key::new(hmac::HMAC_SHA256, bytes.expose()))),
            Self::HmacSha512 => Ok(Key::Mac(hmac::Key::new(hmac::HMAC_SHA512, bytes.expose()))),
            Self::Sha256 => Ok(Key::Hash(bytes)),
            Self::Ed25519 => {
                // SubjectPublicKeyInfo of an Ed25519 key up to the key (RFC 8410 section 4).
                const HEAD: [u8; 12] =
                    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
                let key = form.without_head(&bytes, &HEAD).filter(|key| key.len() == 32);
                let key = key.ok_or(KeyError::PublicKey)?;
                Ok(Key::Public(signature::UnparsedPublicKey::new(&signature::ED25519, key)))
            }
            Self::EcdsaP256Sha256 => {
                // SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480 section 2).
                const HEAD: [u8; 26] = [
                    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
                    0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
                ];
                let key = form.without_head(&bytes, &HEAD).filter(|key| key.len() == 65);
                let key = key.ok_or(KeyError::PublicKey)?;
                Ok(Key::Public(signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, key)))
            }
        }
    }
}

impl KeyForm {
    /// The key's bytes.
    pub(super) fn bytes(&self, secret: &Secret) -> Result<Secret, KeyError> {
        let text = secret.expose();
        let prefix = self.strip_prefix.as_deref().unwrap_or_default().as_bytes();
        let text = text.strip_prefix(prefix).unwrap_or(text);
        let bytes = match self.encoding {
            KeyEncoding::Utf8 => text.to_vec(),
            KeyEncoding::Hex => {
                from_hex(&text.to_ascii_lowercase()).ok_or(KeyError::Encoding("hexadecimal"))?
            }
            KeyEncoding::Base64 => from_base64(text).ok_or(KeyError::Encoding("base64"))?,
            KeyEncoding::SpkiDerBase64 => {
                from_base64(text).ok_or(KeyError::Encoding("base64 of a public key"))?
            }
        };
        if bytes.is_empty() { Err(KeyError::Empty) } else { Ok(Secret::new(bytes)) }
    }

    fn without_head(&self, bytes: &Secret, head: &[u8]) -> Option<Vec<u8>> {
        match self.encoding {
            KeyEncoding::SpkiDerBase64 => bytes.expose().strip_prefix(head).map(<[u8]>::to_vec),
            KeyEncoding::Utf8 | KeyEncoding::Base64 | KeyEncoding::Hex => Some(bytes.expose().to_vec()),
        }
    }
}

impl Key {
    /// True if one of `signatures` is this key's for `message`; all of them are looked at.
    pub(super) fn verifies(&self, message: &[Piece<'_>], signatures: &[Vec<u8>]) -> Choice {
        match self {
            Self::Mac(key) => {
                let mut context = hmac::Context::with_key(key);
                for piece in message {
                    context.update(piece.bytes(b""));
                }
                any_equal(context.sign().as_ref(), signatures)
            }
            Self::Hash(secret) => {
                let mut context = digest::Context::new(&digest::SHA256);
                for piece in message {
                    context.update(piece.bytes(secret.expose()));
                }
                any_equal(context.finish().as_ref(), signatures)
            }
            Self::Public(key) => {
                // Ed25519 reads a message twice, and `ring` wants it in one piece.
                let whole: Vec<u8> =
                    message.iter().flat_map(|piece| piece.bytes(b"").iter().copied()).collect();
                signatures.iter().fold(Choice::from(0), |hit, given| {
                    hit | Choice::from(u8::from(key.verify(&whole, given).is_ok()))
                })
            }
        }
    }
}

fn any_equal(own: &[u8], signatures: &[Vec<u8>]) -> Choice {
    signatures.iter().fold(Choice::from(0), |hit, given| hit | own.ct_eq(given))
}
