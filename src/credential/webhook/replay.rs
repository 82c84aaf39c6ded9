//! What tells one delivery from another.

use ring::digest;

/// SHA-256 of what makes a delivery distinct, under a label for its kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ReplayKey([u8; 32]);

/// What a delivery is known by.
#[derive(Clone, Copy)]
pub(super) enum KnownBy {
    /// An id that the signature covers.
    Id,
    /// A signature of which there is only one for its message.
    Signature,
    /// The message itself.
    Message,
    /// The number of one of Telegram's updates.
    Update,
}

impl ReplayKey {
    /// From the digest, as another process made it.
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key of one of Telegram's updates, whose number nobody signs: it is as true as the secret that came with it.
    pub fn of_update(id: u64) -> Self {
        Self::new(KnownBy::Update, std::iter::once(&id.to_be_bytes()[..]))
    }

    pub(super) fn new<'p>(kind: KnownBy, pieces: impl Iterator<Item = &'p [u8]>) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(match kind {
            KnownBy::Id => b"id",
            KnownBy::Signature => b"sg",
            KnownBy::Message => b"ms",
            KnownBy::Update => b"up",
        });
        pieces.for_each(|piece| context.update(piece));
        let mut out = [0; 32];
        out.copy_from_slice(context.finish().as_ref());
        Self(out)
    }
}

impl std::fmt::Debug for ReplayKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReplayKey({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}
