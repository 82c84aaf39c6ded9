//! Edits of the key file by commands: [`desk`] opens it, takes the lock, judges the result as `check` does, records the
//! change and puts the new content in place. What an edit does not name stays byte for byte.

mod block;
mod blocks;
mod comments;
pub mod desk;
mod fragment;
mod lock;
mod replace;

pub use block::{Field, Lifetime, NewKey, Setting};

/// Why text cannot be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Keys that are not written as `[[key]]` blocks, or in a way that could not be written back as it is.
    #[error(
        "this key is not written as a [[key]] block that can be written back byte for byte; use a text editor"
    )]
    Form,
    /// Not TOML.
    #[error("not valid TOML: {0}")]
    Toml(String),
}
