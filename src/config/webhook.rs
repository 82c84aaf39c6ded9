//! `[[webhook]]`: paths that senders deliver to.

use std::sync::Arc;

use http::{HeaderName, Method};

use super::client_address::networks;
use super::reader::{Section, Value, meant};
use super::sender::Senders;
use super::sender_proof::{named_place, one_of, seconds};
use super::telegram::{self, Telegram};
use super::units::Size;
use super::{Surroundings, is_plain_path, public_url, senders, webhook_secret, webhook_sense};
use crate::credential::webhook::description::{Description, Handshake, Verify};
use crate::credential::webhook::place::{Place, PlaceKind};
use crate::credential::webhook::{HandshakeMode, LiveSecret, ReplayMode, Sender, Settings};
use crate::networks::Networks;
use crate::policy::senders::Rules;

/// One webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// `name`: in metrics and logs; distinct.
    pub name: Box<str>,
    /// `path`: the public path, compared whole; distinct.
    pub path: Box<str>,
    /// `methods`: default `POST`, and `GET` where the sender's registration needs it.
    pub methods: Vec<Method>,
    /// `sender` with all that goes with it: how a delivery is proved.
    pub sender: Arc<Sender>,
    /// `allow_from`: networks, or the name of a sender whose networks are known.
    pub allow_from: Networks,
    /// `upstream_path`: the CRM's own path, if another one.
    pub upstream_path: Option<Box<str>>,
    /// `[webhook.telegram]`: the bot, to set its webhook and watch it.
    pub telegram: Option<Telegram>,
    /// `[webhook.senders]`: whose updates become tickets.
    pub senders: Option<Rules>,
    /// `body`: the largest body that is held for verification, in bytes; default 1 MiB, at most 32 MiB.
    pub body_limit: u64,
}

/// What a block is read with.
pub(super) struct Known<'a> {
    pub(super) around: &'a Surroundings<'a>,
    pub(super) senders: &'a Senders,
    /// `[server] public_url`
    pub(super) public_url: Option<Box<str>>,
    /// `[upstream] pass_headers`
    pub(super) pass_headers: &'a [HeaderName],
}

pub(super) fn read(sections: Vec<Section<'_, '_>>, known: &Known<'_>) -> Vec<Webhook> {
    let mut read: Vec<Webhook> = Vec::new();
    for section in sections {
        let (reading, span) = (section.reading(), section.span());
        let Some(webhook) = Webhook::read(section, known) else {
            continue;
        };
        if read.iter().any(|other| other.name == webhook.name) {
            reading.error(span.clone(), format!("a webhook called '{}' stands above", webhook.name), None);
        }
        if read.iter().any(|other| other.path == webhook.path) {
            reading.error(
                span.clone(),
                format!("a webhook with the path {} stands above", webhook.path),
                None,
            );
        }
        if let Some(other) = read.iter().find(|other| other.shadows(&webhook) || webhook.shadows(other)) {
            let help = "a whole path goes before a prefix; of two prefixes the first one is asked".to_owned();
            let message = format!("the webhook '{}' has some of the same paths", other.name);
            reading.warning(span.clone(), message, Some(help));
        }
        let same_secret = |other: &&Webhook| other.sender.shares_secret_with(&webhook.sender);
        if let Some(other) = read.iter().find(same_secret).filter(|_| known.around.knows_secrets()) {
            let help = "what is signed for one is good for the other".to_owned();
            let message = format!("the webhook '{}' has the same secret", other.name);
            reading.warning(span.clone(), message, Some(help));
        }
        let is_shared =
            |other: &Webhook| telegram::is_shared(other.telegram.as_ref(), webhook.telegram.as_ref());
        if known.around.knows_secrets() && read.iter().any(is_shared) {
            let help = "Telegram knows one webhook of each bot".to_owned();
            reading.error(span, "a webhook with the same bot token stands above", Some(help));
        }
        read.push(webhook);
    }
    read
}

impl Webhook {
    /// Paths by which deliveries come in, or reach the CRM.
    pub fn doors(&self) -> impl Iterator<Item = &str> {
        [Some(&*self.path), self.upstream_path.as_deref(), self.sender.path_prefix()].into_iter().flatten()
    }

    /// True if deliveries to the other one could be for this one's path prefix.
    fn shadows(&self, other: &Self) -> bool {
        let others = other.sender.path_prefix().unwrap_or(&other.path);
        self.sender.path_prefix().is_some_and(|prefix| others.starts_with(prefix))
    }

    fn read(section: Section<'_, '_>, known: &Known<'_>) -> Option<Self> {
        let name = section.required("name").and_then(route_name);
        let path = section.required("path").and_then(plain_path);
        let place = place(&section);
        let description = description(&section, place.as_ref(), known);
        if let Some(place) = &place {
            webhook_sense::place(place, &section, known.pass_headers);
        }
        let settings = settings(&section, place, known);
        webhook_sense::settings(&settings, &section);
        if let Some(description) = &description {
            judge(description, &settings, &section);
        }
        let secrets = section.required("secrets").map(|value| value.one_or_more()).unwrap_or_default();
        let secrets: Vec<LiveSecret> = secrets
            .into_iter()
            .filter_map(|item| webhook_secret::read(item, description.as_ref(), known.around))
            .collect();
        if secrets.is_empty() && section.get("secrets").is_some_and(|value| value.one_or_more().is_empty()) {
            let help = "secrets = [\"env:NAME\"]".to_owned();
            section.reading().error(section.span(), "without a secret it refuses everything", Some(help));
        }
        let named = |name: &str| known.senders.networks_of(name);
        let allow_from = section.get("allow_from").map(|value| networks(value, &named)).unwrap_or_default();
        let methods = section.get("methods").map(webhook_sense::methods);
        let telegram = Telegram::read(section.section("telegram"), known.around);
        let upstream_path =
            section.get("upstream_path").and_then(|value| upstream_path(value, telegram.as_ref()));
        let senders = senders::read(section.section("senders"));
        let body_limit = section.get("body").map_or(Some(1 << 20), body_limit);
        let (span, reading) = (section.span(), section.reading());
        let sender = description.map(|description| Sender::new(description, settings, secrets));
        if let Some(sender) = &sender {
            webhook_sense::sender(sender, &section, known.around.knows_secrets());
        }
        section.finish();
        let sender = sender?;
        if sender.path_prefix().is_some() && upstream_path.is_none() {
            let help = "say 'upstream_path': the secret in the path must not go on".to_owned();
            reading.error(span.clone(), "the CRM's own path is missing", Some(help));
        }
        if (telegram.is_some() || senders.is_some()) && !sender.is_telegram() {
            let help = "say 'sender = \"telegram\"'".to_owned();
            reading.error(span, "only Telegram's updates have a bot and senders", Some(help));
        }
        let usual = || usual_methods(sender.description());
        let methods = methods.unwrap_or_else(usual);
        Some(Self {
            name: name?,
            path: path?,
            methods,
            sender: Arc::new(sender),
            allow_from,
            upstream_path,
            body_limit: body_limit?,
            telegram,
            senders,
        })
    }
}

/// The scheme: the named sender's, or that of a secret in the named place.
fn description(section: &Section<'_, '_>, place: Option<&Place>, known: &Known<'_>) -> Option<Description> {
    let named = section.get("sender").map(|value| sender(value, known.senders));
    match (named, place) {
        (Some(sender), _) => sender,
        (None, Some(place)) => known.senders.named(of_place(place)).cloned(),
        (None, None) => {
            let help = "name a 'sender', or the 'header' or 'query' parameter that holds the secret";
            let message = "it is not said where the secret stands";
            section.reading().error(section.span(), message, Some(help.to_owned()));
            None
        }
    }
}

fn usual_methods(description: &Description) -> Vec<Method> {
    match description.handshake {
        Some(Handshake::MetaHubChallenge) => vec![Method::POST, Method::GET],
        Some(Handshake::SlackUrlVerification | Handshake::DiscordPing) | None => vec![Method::POST],
    }
}

/// A name for metrics and logs.
pub(super) fn route_name(value: Value<'_, '_>) -> Option<Box<str>> {
    let text = value.text()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        Some(text.into())
    } else {
        value.reading().error(value.span(), "expected a name of 1 to 64 letters, digits and . _ -", None);
        None
    }
}

fn plain_path(value: Value<'_, '_>) -> Option<Box<str>> {
    let text = value.text()?;
    if is_plain_path(text) {
        Some(text.into())
    } else {
        let help = "it starts with '/', and has no query, no '*' and no second spelling".to_owned();
        value.reading().error(value.span(), "not a path that could be asked for", Some(help));
        None
    }
}

/// The CRM's own path. Where that holds the bot's token, as Chatwoot's does, `{bot_token}` stands for it.
fn upstream_path(value: Value<'_, '_>, telegram: Option<&Telegram>) -> Option<Box<str>> {
    const TOKEN: &str = "{bot_token}";
    if !value.as_text().is_some_and(|text| text.contains(TOKEN)) {
        return plain_path(value);
    }
    let Some(token) = telegram.map(|telegram| telegram.bot_token.expose()) else {
        let help = "say it there: [webhook.telegram] bot_token = \"env:NAME\"".to_owned();
        value.reading().error(value.span(), "no bot token is known for '{bot_token}'", Some(help));
        return None;
    };
    let path = value.text()?.replace(TOKEN, token);
    if is_plain_path(&path) {
        return Some(path.into());
    }
    value.reading().error(value.span(), "not a path that could be asked for", None);
    None
}

fn sender(value: Value<'_, '_>, senders: &Senders) -> Option<Description> {
    let name = value.text()?;
    let known = senders.named(name);
    if known.is_none() {
        let help = meant(name, senders.names()).map_or_else(
            || {
                "describe it in [sender.<name>], or name the 'header' or 'query' parameter with the secret"
                    .to_owned()
            },
            |near| format!("did you mean '{near}'?"),
        );
        value.reading().error(value.span(), format!("no sender is called '{name}'"), Some(help));
    }
    known.cloned()
}

/// `header`, `query` or `path_prefix`: where a secret that travels along stands.
fn place(section: &Section<'_, '_>) -> Option<Place> {
    let header = section.get("header").map(|value| (PlaceKind::Header, value));
    let query = section.get("query").map(|value| (PlaceKind::Query, value));
    let path = section.get("path_prefix").map(|value| (PlaceKind::Path, value));
    let mut given = [header, query, path].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(_), Some(_)) => {
            let message = "'header', 'query' and 'path_prefix' exclude each other";
            section.reading().error(section.span(), message, None);
            None
        }
        (Some((kind, value)), None) => named_place(kind, value),
        (None, _) => None,
    }
}

/// The sender that has nothing but a place.
const fn of_place(place: &Place) -> &'static str {
    match place {
        Place::Header(_) | Place::Json(_) | Place::Unnamed(_) => "header-token",
        Place::Query(_) => "query-token",
        Place::Path(_) => "path-token",
    }
}

fn settings(section: &Section<'_, '_>, place: Option<Place>, known: &Known<'_>) -> Settings {
    let text = |key| section.get(key).and_then(|value| value.text()).map(Box::<str>::from);
    let handshake = section.get("handshake").and_then(|value| {
        one_of(value, &[("answer", HandshakeMode::Answer), ("forward", HandshakeMode::Forward)])
    });
    let replay = section.get("replay").and_then(|value| value.truth());
    Settings {
        place,
        variables: text("webhook_id").map(|id| ("webhook_id".into(), id)).into_iter().collect(),
        verify_token: section.get("verify_token").and_then(|value| known.around.secret(value)),
        organization_id: text("organization_id"),
        tolerance_seconds: section.get("tolerance").and_then(seconds),
        public_url: section.get("public_url").and_then(public_url).or_else(|| known.public_url.clone()),
        handshake: handshake.unwrap_or_default(),
        replay: match replay {
            None => ReplayMode::Usual,
            Some(true) => ReplayMode::On,
            Some(false) => ReplayMode::Off,
        },
        enforces_networks: false,
    }
}

/// What the sender needs and does not have, or has and does not need.
fn judge(description: &Description, settings: &Settings, section: &Section<'_, '_>) {
    let name = &description.name;
    let signed = match &description.verify {
        Verify::Signature(signed) => Some(signed),
        Verify::Token { .. } | Verify::Basic => None,
    };
    let chooses_place = matches!(description.verify, Verify::Token { .. });
    let lacks_place = settings.place.is_none()
        && matches!(description.verify, Verify::Token { place: Place::Unnamed(_), .. });
    let has_timestamp = signed.is_some_and(|signed| signed.timestamp.is_some());
    let is_meta = description.handshake == Some(Handshake::MetaHubChallenge);
    let error = |message: String| section.reading().error(section.span(), message, None);
    for (key, is_needed, is_given) in [
        ("header', 'query' or 'path_prefix", lacks_place, settings.place.is_some()),
        ("webhook_id", description.variables().contains(&"webhook_id"), !settings.variables.is_empty()),
        ("verify_token", is_meta, section.get("verify_token").is_some()),
        ("organization_id", description.body_check.is_some(), settings.organization_id.is_some()),
        ("public_url", description.reads_url(), settings.public_url.is_some()),
    ] {
        if is_needed && !is_given {
            let help = match key {
                "public_url" => Some(
                    "it signs the URL that it calls; as in public_url = \"https://crm.example.com\", here or in [server]",
                ),
                "verify_token" => Some(
                    "the word that you type where the sender is set up; a reference, as in \"env:VERIFY_TOKEN\"",
                ),
                _ => None,
            };
            let message = format!("the sender '{name}' needs '{key}'");
            section.reading().error(section.span(), message, help.map(str::to_owned));
        }
    }
    for (key, has_meaning, is_given) in [
        ("header', 'query' or 'path_prefix", chooses_place, settings.place.is_some()),
        ("webhook_id", description.variables().contains(&"webhook_id"), !settings.variables.is_empty()),
        ("verify_token", is_meta, settings.verify_token.is_some()),
        ("organization_id", description.body_check.is_some(), settings.organization_id.is_some()),
        ("tolerance", has_timestamp, settings.tolerance_seconds.is_some()),
        ("handshake", description.handshake.is_some(), section.get("handshake").is_some()),
    ] {
        if is_given && !has_meaning {
            error(format!("'{key}' means nothing for the sender '{name}'"));
        }
    }
}

fn body_limit(value: Value<'_, '_>) -> Option<u64> {
    const MOST: u64 = 32 << 20;
    let Size(bytes) = value.parse()?;
    let fits = (1..=MOST).contains(&bytes);
    if !fits {
        value.reading().error(value.span(), "expected a size from 1 to 32MiB", None);
    }
    fits.then_some(bytes)
}
