//! What a caller may do: [`scope`] says which methods and paths, [`allowlist`] from which addresses.

pub mod allowlist;
pub mod scope;
