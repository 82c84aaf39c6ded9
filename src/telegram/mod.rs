//! The bot's side of a Telegram webhook: setting it, asking how it fares, watching that it stays.
//!
//! [`client`] makes one call, [`api`] knows the methods, [`address`] what Telegram can reach, [`health`] puts an answer in
//! words, [`watch`] is the running process's look every so often. The token is in the path of every call and in no error,
//! log line or output: what others say passes through [`Bot::masked`].

pub mod address;
pub mod api;
pub mod client;
pub mod health;
pub mod watch;

use std::sync::Arc;

use crate::clock::WallTime;
use crate::config;
use crate::config::telegram::Telegram;
use crate::secret::Secret;

/// Most characters of a text of somebody else's that are repeated.
const MOST_CHARS: usize = 300;
/// Most bytes of a secret: core.telegram.org/bots/api#setwebhook.
const MOST_SECRET_BYTES: usize = 256;
/// Fewest bytes of a secret that is looked for in texts: a shorter one stands in words by chance, and taking it out there
/// would tell it.
const FEWEST_MASKED_BYTES: usize = 8;

/// A bot and the webhook that it should have.
#[derive(Clone, Debug)]
pub struct Bot {
    /// The webhook's name in the configuration.
    pub webhook: Arc<str>,
    /// What Telegram should deliver to.
    pub url: String,
    /// What Telegram should send along: that of the webhook's live secrets which ends last, or never.
    secret: Secret,
    /// The section.
    pub settings: Telegram,
}

/// Why a webhook cannot be set at Telegram.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BotError {
    /// It has no secret.
    #[error("webhook '{0}' has no secret, and without one anybody could pretend to be Telegram")]
    NoSecret(Box<str>),
    /// Telegram would not take it.
    #[error("the first secret of webhook '{0}' is not one that Telegram takes: 1 to 256 of A-Z a-z 0-9 _ -")]
    Secret(Box<str>),
}

impl Bot {
    /// The bot of a webhook; `None` if it has no `[webhook.telegram]`.
    ///
    /// # Errors
    /// [`BotError`].
    pub fn of(webhook: &config::Webhook, now: WallTime) -> Option<Result<Self, BotError>> {
        let settings = webhook.telegram.clone()?;
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let secret = match webhook.sender.lasting_secret(now) {
            None => return Some(Err(BotError::NoSecret(webhook.name.clone()))),
            Some(secret) if secret.len() > MOST_SECRET_BYTES || !secret.expose().iter().all(fits) => {
                return Some(Err(BotError::Secret(webhook.name.clone())));
            }
            Some(secret) => secret.clone(),
        };
        let url = settings.public_url.with(&webhook.path);
        Some(Ok(Self { webhook: (*webhook.name).into(), url, secret, settings }))
    }

    /// True if Telegram should send the same secret for both.
    fn has_secret_of(&self, other: &Self) -> bool {
        self.secret.matches(other.secret.expose())
    }

    /// A text of somebody else's that can be shown: without the token and the secret, without control characters, not
    /// endless.
    pub fn masked(&self, text: &str) -> String {
        let token = self.settings.bot_token.expose();
        // The part after the colon alone is as good as the whole, and an escaped colon would hide the whole.
        let key = token.split_once(':').map_or(token, |(_, key)| key);
        let mut shown = text.replace(token, "[token]").replace(key, "[token]");
        let secret = std::str::from_utf8(self.secret.expose()).unwrap_or_default();
        if secret.len() >= FEWEST_MASKED_BYTES {
            shown = shown.replace(secret, "[secret]");
        }
        shown.chars().filter(|character| !character.is_control()).take(MOST_CHARS).collect()
    }
}

impl PartialEq for Bot {
    fn eq(&self, other: &Self) -> bool {
        let Self { webhook, url, secret, settings } = self;
        *webhook == other.webhook
            && *url == other.url
            && secret.matches(other.secret.expose())
            && *settings == other.settings
    }
}
