//! The types of `zstd` that pingora-core names. See `../README.md`.
#![forbid(unsafe_code)]

/// Streams that refuse.
pub mod stream {
    /// Encoders that refuse.
    pub mod write {
        use std::io::{Error, ErrorKind, Result, Write};
        use std::marker::PhantomData;

        /// Cannot be made: every constructor refuses with `ErrorKind::Unsupported`.
        #[derive(Debug)]
        pub struct Encoder<'a, W> {
            inner: W,
            dictionary: PhantomData<&'a ()>,
        }

        impl<W: Write> Encoder<'_, W> {
            /// Refuses.
            pub fn new(_inner: W, _level: i32) -> Result<Self> {
                Err(Error::from(ErrorKind::Unsupported))
            }

            /// Refuses.
            pub fn with_dictionary(_inner: W, _level: i32, _dictionary: &[u8]) -> Result<Self> {
                Err(Error::from(ErrorKind::Unsupported))
            }

            /// The writer.
            pub fn get_ref(&self) -> &W {
                &self.inner
            }

            /// The writer.
            pub fn get_mut(&mut self) -> &mut W {
                &mut self.inner
            }

            /// Refuses.
            pub fn do_finish(&mut self) -> Result<()> {
                Err(Error::from(ErrorKind::Unsupported))
            }
        }

        impl<W: Write> Write for Encoder<'_, W> {
            fn write(&mut self, _: &[u8]) -> Result<usize> {
                Err(Error::from(ErrorKind::Unsupported))
            }

            fn flush(&mut self) -> Result<()> {
                Err(Error::from(ErrorKind::Unsupported))
            }
        }
    }
}
