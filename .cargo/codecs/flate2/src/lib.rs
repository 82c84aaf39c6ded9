//! The types of `flate2` that pingora-core names. See `../README.md`.
#![forbid(unsafe_code)]

/// A level that is never used.
#[derive(Clone, Copy, Debug)]
pub struct Compression;

impl Compression {
    /// Any level: nothing is compressed.
    pub const fn new(_level: u32) -> Self {
        Self
    }
}

/// Encoders and decoders that refuse.
pub mod write {
    use super::Compression;
    use std::io::{Error, ErrorKind, Result, Write};

    macro_rules! refusing {
        ($name:ident, new($($arg:ident: $ty:ty),*)) => {
            /// Refuses every write with `ErrorKind::Unsupported`.
            #[derive(Debug)]
            pub struct $name<W>(W);

            impl<W: Write> $name<W> {
                /// Keeps `inner`, which never gets a byte.
                pub fn new(inner: W, $($arg: $ty),*) -> Self {
                    Self(inner)
                }

                /// The writer.
                pub fn get_ref(&self) -> &W {
                    &self.0
                }

                /// The writer.
                pub fn get_mut(&mut self) -> &mut W {
                    &mut self.0
                }

                /// Refuses.
                pub fn try_finish(&mut self) -> Result<()> {
                    Err(Error::from(ErrorKind::Unsupported))
                }
            }

            impl<W: Write> Write for $name<W> {
                fn write(&mut self, _: &[u8]) -> Result<usize> {
                    Err(Error::from(ErrorKind::Unsupported))
                }

                fn flush(&mut self) -> Result<()> {
                    Err(Error::from(ErrorKind::Unsupported))
                }
            }
        };
    }

    refusing!(GzDecoder, new());
    refusing!(GzEncoder, new(_level: Compression));
}
