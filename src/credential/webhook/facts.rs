//! What a gateway needs to know of a sender besides its verdict.

use ring::digest;

use super::description::{Description, Reply, Verify};
use super::place::Place;
use super::sender::{Live, Sender};
use super::settings::ReplayMode;
use crate::clock::WallTime;
use crate::request_head::target::judge_path;
use crate::secret::Secret;

/// What tells one secret from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SecretPrint([u8; 32]);

impl SecretPrint {
    fn of(secret: &Secret) -> Self {
        let mut print = [0; 32];
        print.copy_from_slice(digest::digest(&digest::SHA256, secret.expose()).as_ref());
        Self(print)
    }
}

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

    /// The prefix of paths whose rest is the secret, or the signature.
    pub fn path_prefix(&self) -> Option<&str> {
        let place = match &self.description.verify {
            Verify::Signature(signed) => Some(&signed.place),
            Verify::Token { .. } | Verify::Basic => self.secret_place(),
        };
        match place {
            Some(Place::Path(prefix)) => Some(prefix),
            Some(Place::Header(_) | Place::Query(_) | Place::Json(_) | Place::Unnamed(_)) | None => None,
        }
    }

    /// The answer that the sender needs once the CRM took a delivery.
    pub const fn reply(&self) -> Option<&Reply> {
        self.description.reply.as_ref()
    }

    /// The secret to register with the sender: of those that are live the one that ends last, or never.
    pub fn lasting_secret(&self, now: WallTime) -> Option<&Secret> {
        let mut live = self.secrets.iter().filter(|live| live.is_live(now));
        let first = live.next()?;
        let ends = |live: &Live| live.until.unwrap_or(WallTime::MAX);
        Some(&live.fold(first, |best, other| if ends(other) > ends(best) { other } else { best }).secret)
    }

    /// SHA-256 of each secret, ended ones included: what tells one from another without holding it.
    pub fn secret_prints(&self) -> Vec<SecretPrint> {
        self.secrets.iter().map(|live| SecretPrint::of(&live.secret)).collect()
    }

    /// True if a delivery that is signed for one of the two could be good for the other.
    pub fn shares_secret_with(&self, other: &Self) -> bool {
        let is_signed = |sender: &Self| matches!(sender.description.verify, Verify::Signature(_));
        let shared = |live: &Live| other.is_secret(live.secret.expose());
        is_signed(self) && is_signed(other) && self.secrets.iter().any(shared)
    }

    /// True if every secret can stand in a path behind the prefix; also where none has to.
    pub fn fits_paths(&self) -> bool {
        let fits = |prefix: &str, live: &Live| {
            let text = std::str::from_utf8(live.secret.expose()).unwrap_or(" ");
            !text.contains('?') && judge_path(&format!("{prefix}{text}")).is_ok()
        };
        match self.secret_place() {
            Some(Place::Path(prefix)) => self.secrets.iter().all(|live| fits(prefix, live)),
            Some(Place::Header(_) | Place::Query(_) | Place::Json(_) | Place::Unnamed(_)) | None => true,
        }
    }

    /// True if `text` is one of the secrets.
    pub fn is_secret(&self, text: &[u8]) -> bool {
        self.secrets.iter().any(|live| live.secret.matches(text))
    }
}
