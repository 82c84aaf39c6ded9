//! What a caller claims with: an API key ([`api_key`]), found in exactly one of the configured [`places`], or a
//! [`webhook`] secret.

pub mod api_key;
pub mod places;
pub mod webhook;
