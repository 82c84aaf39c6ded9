//! What a configuration says about a sender beyond its description.

use std::collections::BTreeMap;

use super::place::Place;
use crate::clock::WallTime;
use crate::secret::Secret;

/// What a configuration says about a sender beyond its description.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Where the secret stands, for senders that let their user choose.
    pub place: Option<Place>,
    /// Values for the names in a signature's template, such as `EspoCRM`'s `webhook_id`.
    pub variables: BTreeMap<Box<str>, Box<str>>,
    /// The token that Meta's registration carries.
    pub verify_token: Option<Secret>,
    /// Salesforce's organization.
    pub organization_id: Option<Box<str>>,
    /// A window in place of the sender's own, in seconds both ways.
    pub tolerance_seconds: Option<u32>,
    /// Where the world reaches this gateway, such as `https://crm.example.com`, without a path.
    pub public_url: Option<Box<str>>,
    /// Who answers handshakes.
    pub handshake: HandshakeMode,
    /// Whether deliveries are told apart.
    pub replay: ReplayMode,
    /// Refuse peers outside the sender's networks here, and not in a list of the webhook's own.
    pub enforces_networks: bool,
}

/// Who answers handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandshakeMode {
    /// Sidelock.
    #[default]
    Answer,
    /// The CRM, after verification.
    Forward,
}

/// Whether deliveries are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplayMode {
    /// As is right for the sender.
    #[default]
    Usual,
    /// Also where equal deliveries could be distinct events.
    On,
    /// Never.
    Off,
}

/// A secret, and when it ends.
#[derive(Clone, Debug)]
pub struct LiveSecret {
    /// The secret's text.
    pub secret: Secret,
    /// From this moment on it verifies nothing.
    pub until: Option<WallTime>,
}
