//! The header fields that Sidelock itself says, kept as they go over the wire.
//!
//! Who a caller is and where a request came from is the same for each request of a key or connection. So these fields are
//! written out once, and sent past hyper's map of fields, where each would be hashed, kept and written anew each time.

use http::{HeaderName, HeaderValue};

/// Field lines (RFC 9112 section 5), each with its end. Their names and values can hold no end of a line: the types see to it.
#[derive(Clone, Debug, Default)]
pub struct OwnFields(Vec<u8>);

impl OwnFields {
    /// None yet, with room for so many bytes.
    pub fn with_room(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// One more field. The same name must not be among the fields that are forwarded.
    pub fn say(&mut self, name: &HeaderName, value: &HeaderValue) {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            self.0.extend_from_slice(part);
        }
    }

    /// More fields.
    pub fn say_all(&mut self, others: &Self) {
        self.0.extend_from_slice(&others.0);
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// As they are sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}
