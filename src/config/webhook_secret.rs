//! `secrets` of `[[webhook]]`: what the sender signs with or sends along, and until when.

use super::Surroundings;
use super::reader::Value;
use crate::credential::webhook::LiveSecret;
use crate::credential::webhook::description::{Description, Verify};
use crate::secret::Secret;

/// Where it stands, for messages.
const PATH: &str = "webhook.secrets";

/// One secret: a reference, or `{ secret = "env:NAME", until = 2026-12-01T00:00:00Z }`.
pub(super) fn read(
    value: Value<'_, '_>,
    sender: Option<&Description>,
    around: &Surroundings<'_>,
) -> Option<LiveSecret> {
    if !value.is_table() {
        let secret = around.secret(value)?;
        return judge(value, secret, sender.filter(|_| around.knows_secrets()))
            .map(|secret| LiveSecret { secret, until: None });
    }
    let section = value.section(PATH);
    let reference = section.required("secret");
    let secret = reference
        .and_then(|value| judge(value, around.secret(value)?, sender.filter(|_| around.knows_secrets())));
    let until = section.get("until").map(|value| value.moment());
    section.finish();
    let until = match until {
        None => None,
        Some(moment) => Some(moment?),
    };
    Some(LiveSecret { secret: secret?, until })
}

/// Refuses what the sender could not have, and warns of what can be guessed.
fn judge(value: Value<'_, '_>, secret: Secret, sender: Option<&Description>) -> Option<Secret> {
    let Some(sender) = sender else {
        return Some(secret);
    };
    let refuse = |message: String| {
        value.reading().error(value.span(), message, None);
        None
    };
    if let Some(charset) = &sender.secrets.charset
        && !charset.covers(secret.expose())
    {
        return refuse(format!("{} accepts only secrets like {}", sender.name, charset.as_str()));
    }
    let (bytes, is_public) = match &sender.verify {
        Verify::Signature(signed) => match signed.key_bytes(&secret) {
            Ok(bytes) => (bytes, signed.primitive.is_public_key()),
            Err(error) => return refuse(error.to_string()),
        },
        Verify::Basic if !secret.expose().contains(&b':') => {
            return refuse("expected user:password".to_owned());
        }
        Verify::Token { .. } | Verify::Basic => (secret.len(), false),
    };
    let warn = |message: String, help: &str| {
        value.reading().warning(value.span(), message, Some(help.to_owned()));
    };
    if bytes < sender.secrets.fair_bytes && !is_public {
        let fair = sender.secrets.fair_bytes;
        warn(
            format!("this secret is a key of {bytes} bytes; {fair} or more are hard to guess"),
            "'openssl rand -hex 32' makes a good one, where the sender lets you choose",
        );
    }
    if let Some(most) = sender.secrets.most_bytes.filter(|most| bytes > *most) {
        warn(
            format!("this secret has {bytes} bytes; {most} are the most in this scheme"),
            "ask the sender for another one",
        );
    }
    Some(secret)
}
