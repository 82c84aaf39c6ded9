//! `[[webhook]]`: paths that senders deliver to.

use http::{HeaderName, Method};

use super::client_address::networks;
use super::reader::{Section, Value, meant};
use super::telegram::{self, Telegram};
use super::{Surroundings, senders};
use crate::credential::webhook::token::TokenPlace;
use crate::networks::Networks;
use crate::policy::senders::Rules;
use crate::request_head::target::judge_path;
use crate::secret::Secret;

/// One webhook.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// `name`: in metrics and logs; distinct.
    pub name: Box<str>,
    /// `path`: the public path, compared whole; distinct.
    pub path: Box<str>,
    /// `methods`: default `POST`.
    pub methods: Vec<Method>,
    /// `header` or `query`: where the secret stands; a `sender` may say it.
    pub place: TokenPlace,
    /// `secrets`: references; any of them will do.
    pub secrets: Vec<Secret>,
    /// `allow_from`: networks, or the name of a sender whose networks are known.
    pub allow_from: Networks,
    /// `upstream_path`: the CRM's own path, if another one.
    pub upstream_path: Option<Box<str>>,
    /// `[webhook.telegram]`: the bot, to set its webhook and watch it.
    pub telegram: Option<Telegram>,
    /// `[webhook.senders]`: whose updates become tickets.
    pub senders: Option<Rules>,
}

/// A sender whose facts are known.
struct Sender {
    name: &'static str,
    header: &'static str,
    networks: &'static [&'static str],
    /// Shorter secrets get a warning.
    fair_length: usize,
    alphabet: fn(u8) -> bool,
}

/// Telegram: core.telegram.org/bots/api#setwebhook and core.telegram.org/bots/webhooks.
const SENDERS: [Sender; 1] = [Sender {
    name: "telegram",
    header: "x-telegram-bot-api-secret-token",
    networks: &["149.154.160.0/20", "91.108.4.0/22"],
    fair_length: 32,
    alphabet: |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-',
}];

pub(super) fn read(sections: Vec<Section<'_, '_>>, around: &Surroundings<'_>) -> Vec<Webhook> {
    let mut read: Vec<Webhook> = Vec::new();
    for section in sections {
        let (reading, span) = (section.reading(), section.span());
        let Some(webhook) = Webhook::read(section, around) else {
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
        if read.iter().any(|other| telegram::is_shared(other.telegram.as_ref(), webhook.telegram.as_ref())) {
            let help = "Telegram knows one webhook of each bot".to_owned();
            reading.error(span, "a webhook with the same bot token stands above", Some(help));
        }
        read.push(webhook);
    }
    read
}

impl Webhook {
    fn read(section: Section<'_, '_>, around: &Surroundings<'_>) -> Option<Self> {
        let name = section.required("name").and_then(route_name);
        let path = section.required("path").and_then(plain_path);
        let sender = section.get("sender").and_then(sender);
        let place = place(&section, sender);
        let secrets: Vec<Secret> = section
            .required("secrets")
            .map(|value| {
                value.one_or_more().into_iter().filter_map(|item| secret(item, sender, around)).collect()
            })
            .unwrap_or_default();
        let allow_from =
            section.get("allow_from").map(|value| networks(value, &known_networks)).unwrap_or_default();
        let methods =
            section.get("methods").map(|value| value.parse_all()).unwrap_or_else(|| vec![Method::POST]);
        let upstream_path = section.get("upstream_path").and_then(plain_path);
        let telegram = Telegram::read(section.section("telegram"), around);
        let senders = senders::read(section.section("senders"));
        section.finish();
        Some(Self {
            name: name?,
            path: path?,
            methods,
            place: place?,
            secrets,
            allow_from,
            upstream_path,
            telegram,
            senders,
        })
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
    if judge_path(text).is_ok() && !text.contains(['?', '*']) {
        Some(text.into())
    } else {
        let help = "it starts with '/', and has no query, no '*' and no second spelling".to_owned();
        value.reading().error(value.span(), "not a path that could be asked for", Some(help));
        None
    }
}

fn sender(value: Value<'_, '_>) -> Option<&'static Sender> {
    let name = value.text()?;
    let known = SENDERS.iter().find(|sender| sender.name == name);
    if known.is_none() {
        let near = meant(name, SENDERS.iter().map(|sender| sender.name));
        let help = near.map_or_else(
            || "leave it out and name the 'header' or 'query' parameter that holds the secret".to_owned(),
            |near| format!("did you mean '{near}'?"),
        );
        value.reading().error(value.span(), format!("no sender is called '{name}'"), Some(help));
    }
    known
}

fn place(section: &Section<'_, '_>, sender: Option<&Sender>) -> Option<TokenPlace> {
    let header = section.get("header").and_then(|value| value.parse::<HeaderName>()).map(TokenPlace::Header);
    let query =
        section.get("query").and_then(|value| value.text()).map(|name| TokenPlace::Query(name.into()));
    match (header, query, sender) {
        (Some(_), Some(_), _) => {
            section.reading().error(section.span(), "'header' and 'query' exclude each other", None);
            None
        }
        (Some(place), None, _) | (None, Some(place), _) => Some(place),
        (None, None, Some(sender)) => Some(TokenPlace::Header(HeaderName::from_static(sender.header))),
        (None, None, None) => {
            let help =
                "name a 'sender', or the 'header' or 'query' parameter that holds the secret".to_owned();
            section.reading().error(section.span(), "it is not said where the secret stands", Some(help));
            None
        }
    }
}

fn secret(value: Value<'_, '_>, sender: Option<&Sender>, around: &Surroundings<'_>) -> Option<Secret> {
    let secret = around.secret(value)?;
    if let Some(sender) = sender {
        if !secret.expose().iter().all(|byte| (sender.alphabet)(*byte)) || secret.len() > 256 {
            let message = format!("{} accepts only 1 to 256 of A-Z a-z 0-9 _ - in a secret", sender.name);
            value.reading().error(value.span(), message, None);
            return None;
        }
        if secret.len() < sender.fair_length {
            let message = format!(
                "this secret has {} characters; {} or more are hard to guess",
                secret.len(),
                sender.fair_length
            );
            value.reading().warning(
                value.span(),
                message,
                Some("'openssl rand -hex 32' makes a good one".to_owned()),
            );
        }
    }
    Some(secret)
}

fn known_networks(name: &str) -> Option<&'static [&'static str]> {
    SENDERS.iter().find(|sender| sender.name == name).map(|sender| sender.networks)
}
