//! What a gateway needs to know of a sender besides its verdict.

use super::Delivery;
use super::description::{Description, Reply, Verify};
use super::place::{Place, in_head};
use super::sender::Sender;
use super::settings::ReplayMode;
use crate::denial::DeliveryFault;
use crate::secret::Secret;

impl Sender {
    /// The scheme.
    pub const fn description(&self) -> &Description {
        &self.description
    }

    /// True if the body decides: it is held until the delivery is proved.
    pub fn needs_body(&self) -> bool {
        self.description.reads_body()
    }

    /// True if deliveries are told apart by the number of Telegram's update.
    pub fn counts_updates(&self) -> bool {
        self.is_telegram() && self.settings.replay != ReplayMode::Off
    }

    /// Refuses by the head alone what no body could make good, so that a stranger's body is not held for nothing.
    ///
    /// # Errors
    /// [`DeliveryFault::SignatureMissing`], [`DeliveryFault::SecretMissing`], or a field that is twice there or too long.
    pub fn screen(&self, delivery: &Delivery<'_>) -> Result<(), DeliveryFault> {
        self.judge_peer(delivery)?;
        let unsigned = self.description.handshake.is_some_and(|it| it.may_be_unsigned(delivery.method));
        match &self.description.verify {
            Verify::Signature(signed) if !matches!(signed.place, Place::Json(_)) && !unsigned => {
                in_head(&signed.place, delivery)?.map(drop).ok_or(DeliveryFault::SignatureMissing)
            }
            Verify::Token { place, .. } if !matches!(place, Place::Json(_)) => {
                in_head(place, delivery)?.map(drop).ok_or(DeliveryFault::SecretMissing)
            }
            Verify::Signature(_) | Verify::Token { .. } | Verify::Basic => Ok(()),
        }
    }

    /// True if the public URL is signed.
    pub fn needs_url(&self) -> bool {
        self.description.reads_url()
    }

    /// The URL that the sender called, for [`Delivery::url`].
    pub fn url_of(&self, target: &str) -> String {
        format!("{}{target}", self.settings.public_url.as_deref().unwrap_or_default())
    }

    /// Where the secret itself travels, for taking it out of what goes on.
    pub const fn secret_place(&self) -> Option<&Place> {
        self.secret_place.as_ref()
    }

    /// True if deliveries are Telegram's updates.
    pub fn is_telegram(&self) -> bool {
        matches!(&self.secret_place, Some(Place::Header(name)) if *name == "x-telegram-bot-api-secret-token")
    }

    /// The prefix of paths whose rest is the secret.
    pub fn path_prefix(&self) -> Option<&str> {
        match self.secret_place() {
            Some(Place::Path(prefix)) => Some(prefix),
            Some(Place::Header(_) | Place::Query(_) | Place::Json(_) | Place::Unnamed(_)) | None => None,
        }
    }

    /// The answer that the sender needs once the CRM took a delivery.
    pub const fn reply(&self) -> Option<&Reply> {
        self.description.reply.as_ref()
    }

    /// The secret to register with the sender: the first that has no end, or else the first.
    pub fn lasting_secret(&self) -> Option<&Secret> {
        let lasting = self.secrets.iter().find(|live| live.until.is_none());
        lasting.or_else(|| self.secrets.first()).map(|live| &live.secret)
    }

    /// Number of secrets, ended ones included.
    pub const fn secrets(&self) -> usize {
        self.secrets.len()
    }

    /// True if `text` is one of the secrets.
    pub fn is_secret(&self, text: &[u8]) -> bool {
        self.secrets.iter().any(|live| live.secret.matches(text))
    }
}
