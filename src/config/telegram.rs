//! `[webhook.telegram]`: the bot behind a webhook, for setting it at Telegram and watching that it stays set.

use std::str::FromStr;
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;

use super::Surroundings;
use super::reader::{Section, Value, meant};
use super::units::Span;
use crate::credential::webhook::telegram::KINDS;
use crate::request_head::host::is_host;
use crate::secret::Secret;

/// Ports that Telegram delivers to: core.telegram.org/bots/webhooks.
const PORTS: [u16; 4] = [443, 80, 88, 8443];
/// Where the Bot API is.
const API: &str = "https://api.telegram.org";
/// Bounds of `watch`: more often is rude, less often is no watch.
const WATCH: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));

/// The section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telegram {
    /// `bot_token`: a reference; required.
    pub bot_token: BotToken,
    /// `public_url`: what stands before the webhook's path when seen from outside; required.
    pub public_url: PublicUrl,
    /// `allowed_updates`: kinds by their names in the Bot API; default what Telegram was told last.
    pub allowed_updates: Option<Vec<Box<str>>>,
    /// `max_connections`: of Telegram's at once, from 1 to 100; default 40.
    pub max_connections: u8,
    /// `api`: the Bot API, `https` or, on loopback, `http`; default `https://api.telegram.org`.
    pub api: ApiBase,
    /// `watch`: how often the running process looks, from 1 s to 1 d; default never.
    pub watch: Option<Watch>,
}

/// What the running process does about the webhook at Telegram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Time between two looks.
    pub every: Duration,
    /// `reassert`: default `true`.
    pub drift: Drift,
}

/// What happens when somebody else set the webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drift {
    /// Metrics and the log tell.
    Report,
    /// It is also set anew.
    Reassert,
}

/// A bot's token: `<number>:<letters, digits, _ and ->`. Whoever has it is the bot.
#[derive(Clone)]
pub struct BotToken(Secret);

impl BotToken {
    /// The text, for the path of a call to the Bot API and for finding it in what others say.
    pub fn expose(&self) -> &str {
        // It was text when it was read.
        std::str::from_utf8(self.0.expose()).unwrap_or_default()
    }
}

impl PartialEq for BotToken {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(other.0.expose())
    }
}

impl Eq for BotToken {}

impl std::fmt::Debug for BotToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BotToken(…)")
    }
}

/// Where Telegram reaches this gateway: `https`, one of its ports, a host, and perhaps a path that a proxy in front takes
/// away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    /// The host: a name or an address.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// The whole, without a `/` at its end.
    text: Box<str>,
}

impl PublicUrl {
    /// The URL of `path`.
    pub fn with(&self, path: &str) -> String {
        format!("{}{path}", self.text)
    }
}

/// Why a URL cannot be told to Telegram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// Not a URL with a host, or with more than a path after it.
    #[error("expected the address that Telegram reaches, as 'https://crm.example.com'")]
    NotAnAddress,
    /// Not `https`.
    #[error("Telegram delivers over https only")]
    NotHttps,
    /// Another port.
    #[error("Telegram delivers to the ports 443, 80, 88 and 8443 only")]
    Port,
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let uri: Uri = text.parse().map_err(|_| PublicUrlError::NotAnAddress)?;
        let authority = uri.authority().filter(|authority| is_host(authority.as_str()));
        let authority = authority.ok_or(PublicUrlError::NotAnAddress)?;
        if uri.scheme() != Some(&Scheme::HTTPS) {
            return Err(PublicUrlError::NotHttps);
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(PublicUrlError::NotAnAddress);
        }
        let port = authority.port_u16().unwrap_or(443);
        if !PORTS.contains(&port) {
            return Err(PublicUrlError::Port);
        }
        Ok(Self { host: authority.host().into(), port, text: text.trim_end_matches('/').into() })
    }
}

/// The Bot API's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiBase {
    /// The host; addresses of IPv6 in brackets.
    pub host: Box<str>,
    /// The port.
    pub port: u16,
    /// How it is spoken to.
    pub transport: Transport,
}

/// With or without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// `https`.
    Tls,
    /// `http`, which is good only on this machine: the token travels in the path.
    Plain,
}

/// Not an address of the Bot API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiBaseError {
    /// Not a URL of scheme, host and port.
    #[error("expected the address of a Bot API server, as 'https://api.telegram.org', without a path")]
    NotAnAddress,
    /// `http` to somewhere else.
    #[error(
        "without TLS the bot token would be readable on the way; http is for this machine only, as in 'http://127.0.0.1:8081'"
    )]
    PlainAndAway,
}

impl FromStr for ApiBase {
    type Err = ApiBaseError;

    fn from_str(text: &str) -> Result<Self, ApiBaseError> {
        let (host, port, tls) = super::upstream_address::origin(text).ok_or(ApiBaseError::NotAnAddress)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let here = bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match (tls, here) {
            (true, _) => Ok(Self { host, port, transport: Transport::Tls }),
            (false, true) => Ok(Self { host, port, transport: Transport::Plain }),
            (false, false) => Err(ApiBaseError::PlainAndAway),
        }
    }
}

impl Telegram {
    /// The bot's number, which everyone may know: what stands before the token's colon.
    pub fn bot_id(&self) -> &str {
        self.bot_token.expose().split(':').next().unwrap_or_default()
    }

    pub(super) fn read(section: Section<'_, '_>, around: &Surroundings<'_>) -> Option<Self> {
        if !section.is_present() {
            return None;
        }
        let bot_token = section.required("bot_token").and_then(|value| bot_token(value, around));
        let public_url = section.required("public_url").and_then(|value| value.parse());
        let allowed_updates = section.get("allowed_updates").map(allowed_updates);
        let most = section.get("max_connections").and_then(|value| value.number(1, 100));
        let api = match section.get("api") {
            Some(value) => value.parse(),
            None => API.parse().ok(),
        };
        let watch = watch(&section);
        section.finish();
        Some(Self {
            bot_token: bot_token?,
            public_url: public_url?,
            allowed_updates,
            max_connections: most.and_then(|number| u8::try_from(number).ok()).unwrap_or(40),
            api: api?,
            watch,
        })
    }
}

/// True if both are one bot, of which Telegram knows one webhook: they would take it from each other for ever.
pub(super) fn is_shared(one: Option<&Telegram>, other: Option<&Telegram>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.bot_token == other.bot_token)
}

fn bot_token(value: Value<'_, '_>, around: &Surroundings<'_>) -> Option<BotToken> {
    let secret = around.secret(value)?;
    let fits = std::str::from_utf8(secret.expose()).ok().and_then(|text| text.split_once(':')).is_some_and(
        |(number, rest)| {
            let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
            (1..=20).contains(&number.len())
                && number.bytes().all(|byte| byte.is_ascii_digit())
                && (20..=200).contains(&rest.len())
                && rest.bytes().all(letters)
        },
    );
    if !fits && around.knows_secrets() {
        let help =
            "BotFather gives tokens of the form 123456789:AAH… with 35 characters after the colon".to_owned();
        value.reading().error(value.span(), "what this refers to is no bot token", Some(help));
        return None;
    }
    Some(BotToken(secret))
}

/// A name that is not known is only worth a warning: Telegram adds kinds.
fn allowed_updates(value: Value<'_, '_>) -> Vec<Box<str>> {
    let items = value.items().into_iter().take(100);
    let name = |item: Value<'_, '_>| -> Option<Box<str>> {
        let name = item.text()?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            item.reading().error(item.span(), "not the name of a kind of update, such as 'message'", None);
            return None;
        }
        if !KINDS.iter().any(|(known, _)| *known == name) {
            let help = meant(name, KINDS.iter().map(|(known, _)| *known));
            let help = help.map(|near| format!("did you mean '{near}'?"));
            item.reading().warning(item.span(), format!("no kind of update is known as '{name}'"), help);
        }
        Some(name.into())
    };
    items.filter_map(name).collect()
}

fn watch(section: &Section<'_, '_>) -> Option<Watch> {
    let every = section.get("watch").and_then(|value| {
        let every = value.parse::<Span>()?.0;
        if every < WATCH.0 || every > WATCH.1 {
            value.reading().error(value.span(), "expected a duration from '1s' to '1d'", None);
        }
        Some(every)
    });
    let reassert = section.get("reassert");
    if let (None, Some(value)) = (every, reassert) {
        value.reading().warning(
            value.span(),
            "without 'watch' nobody would notice that there is a need",
            None,
        );
    }
    let drift = match reassert.and_then(|value| value.truth()) {
        Some(false) => Drift::Report,
        Some(true) | None => Drift::Reassert,
    };
    every.map(|every| Watch { every, drift })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_urls() {
        let url: PublicUrl = "https://crm.example.com/".parse().unwrap();
        assert_eq!(
            (&*url.host, url.port, url.with("/x").as_str()),
            ("crm.example.com", 443, "https://crm.example.com/x")
        );
        let url: PublicUrl = "https://203.0.113.1:8443/gate".parse().unwrap();
        assert_eq!((url.port, url.with("/x").as_str()), (8443, "https://203.0.113.1:8443/gate/x"));
        for (text, error) in [
            ("http://crm.example.com", PublicUrlError::NotHttps),
            ("https://crm.example.com:8080", PublicUrlError::Port),
            ("https://crm.example.com:0", PublicUrlError::Port),
            ("crm.example.com", PublicUrlError::NotHttps),
            ("https://", PublicUrlError::NotAnAddress),
            ("/x", PublicUrlError::NotAnAddress),
            ("https://user:pw@crm.example.com", PublicUrlError::NotAnAddress),
            ("https://crm.example.com/?a=1", PublicUrlError::NotAnAddress),
            ("https://crm.example.com/#a", PublicUrlError::NotAnAddress),
        ] {
            assert_eq!(text.parse::<PublicUrl>(), Err(error), "{text}");
        }
    }

    #[test]
    fn the_token_travels_without_tls_only_within_the_machine() {
        for here in ["http://127.0.0.1:8081", "http://[::1]:8081", "http://localhost"] {
            assert_eq!(here.parse::<ApiBase>().unwrap().transport, Transport::Plain, "{here}");
        }
        assert_eq!("http://192.168.0.1:8081".parse::<ApiBase>(), Err(ApiBaseError::PlainAndAway));
        assert_eq!("http://api.telegram.org".parse::<ApiBase>(), Err(ApiBaseError::PlainAndAway));
        assert_eq!("https://api.telegram.org/bot".parse::<ApiBase>(), Err(ApiBaseError::NotAnAddress));
        assert_eq!(API.parse::<ApiBase>().unwrap().port, 443);
    }
}
