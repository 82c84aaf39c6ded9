//! What in a `[[webhook]]` could be written down and would never work, or would work in no good way.

use http::{HeaderName, Method};

use super::reader::{Section, Value};
use super::{Limits, Webhook};
use crate::credential::webhook::place::Place;
use crate::credential::webhook::{Sender, Settings};
use crate::request_head::fields::{Kind, kind_of};

/// `methods`: at least one, and none that is never let through.
pub(super) fn methods(value: Value<'_, '_>) -> Vec<Method> {
    let methods: Vec<Method> = value.parse_all();
    let refuse = |message: &str| value.reading().error(value.span(), message, None);
    if methods.is_empty() && value.items().is_empty() {
        refuse("without a method it refuses everything");
    }
    if methods.iter().any(|method| [Method::CONNECT, Method::TRACE].contains(method)) {
        refuse("CONNECT and TRACE are never let through");
    }
    methods
}

/// The place that a secret is said to stand in.
pub(super) fn place(place: &Place, section: &Section<'_, '_>, pass_headers: &[HeaderName]) {
    let refuse = |message: String, help: &str| {
        section.reading().error(section.span(), message, Some(help.to_owned()));
    };
    match place {
        Place::Header(name) => {
            let folded = name.as_str().replace('_', "-");
            if kind_of(&folded) != Kind::Plain || ["host", "content-type"].contains(&&*folded) {
                refuse(
                    format!("'{name}' has a meaning of its own"),
                    "name a header that holds nothing but the secret",
                );
            } else if name.as_str().contains('_') && !pass_headers.contains(name) {
                refuse(
                    format!("requests with the header '{name}' are refused"),
                    "list it in [upstream] pass_headers",
                );
            }
        }
        Place::Query(name) if name.is_empty() || &**name == "_method" => {
            refuse(format!("no secret can stand in the parameter '{name}'"), "name another one");
        }
        Place::Path(prefix) if &**prefix == "/" => {
            refuse("this prefix takes every path".to_owned(), "as in path_prefix = \"/hooks/older/\"");
        }
        Place::Query(_) | Place::Path(_) | Place::Json(_) | Place::Unnamed(_) => {}
    }
}

/// Settings that are given and say nothing.
pub(super) fn settings(settings: &Settings, section: &Section<'_, '_>) {
    let id_is_empty = settings.variables.iter().any(|(_, value)| value.is_empty());
    let organization_is_empty = settings.organization_id.as_deref() == Some("");
    for (key, is_empty) in [("webhook_id", id_is_empty), ("organization_id", organization_is_empty)] {
        if is_empty {
            section.reading().error(section.span(), format!("'{key}' is empty: nothing would fit it"), None);
        }
    }
}

/// What the sender as a whole makes of its parts. `with_secrets` is false where other texts stand for the secrets.
pub(super) fn sender(sender: &Sender, section: &Section<'_, '_>, with_secrets: bool) {
    if with_secrets && !sender.fits_paths() {
        let help = "letters, digits, '-', '_' and '~' are safe".to_owned();
        section.reading().error(section.span(), "a secret here can stand in no path", Some(help));
    }
    let is_silent = sender.secret_place().is_some() && !sender.is_telegram();
    if let Some(value) = section.get("replay").filter(|_| is_silent) {
        let message = "nothing tells one delivery of this sender's from another";
        value.reading().error(value.span(), message, Some("leave 'replay' out".to_owned()));
    }
}

/// Room for held bodies that is never enough for one.
pub(super) fn room(webhooks: &[Webhook], limits: &Limits, section: &Section<'_, '_>) {
    for webhook in webhooks.iter().filter(|webhook| webhook.body_limit > limits.held_bodies / 2) {
        let message = format!(
            "the webhook '{}' takes bodies that find no room: one address has half of 'held_bodies'",
            webhook.name
        );
        section.reading().warning(section.span(), message, None);
    }
}
