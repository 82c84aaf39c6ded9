//! `[sender.<name>]`: a sender's scheme. The senders that are known are written the same way, in `config/senders.toml`.

use ipnet::IpNet;

use std::path::PathBuf;

use http::{HeaderName, StatusCode};

use super::reader::{Reading, Section, Value};
use super::sender_proof::{one_of, verify};
use super::source::Source;
use crate::credential::webhook::crypto::Primitive;
use crate::credential::webhook::description::{
    BodyCheck, Charset, Description, Handshake, Id, IdPlace, Replay, Reply, SecretRules, TimestampPlace,
    Verify,
};
use crate::credential::webhook::json::Pointer;
use crate::credential::webhook::place::Place;
use crate::credential::webhook::template::MessageToken;

/// The senders that come with Sidelock.
const KNOWN: &str = include_str!("../../config/senders.toml");

/// Descriptions by name: the user's own, then the known ones.
#[derive(Clone, Debug)]
pub struct Senders(Vec<Description>);

/// The file of the known senders, for its text.
pub fn known_source() -> Source {
    Source { path: PathBuf::from("config/senders.toml"), text: KNOWN.to_owned() }
}

/// Reads senders from the text of a configuration that has nothing else in it.
///
/// # Errors
/// The first mistake in one line.
pub fn parse(source: &Source) -> Result<Senders, String> {
    let reading = Reading::new(source);
    let table = reading.parse();
    let root = reading.root(&table);
    let senders = read_all(&root.section("sender"));
    root.finish();
    let report = reading.into_report();
    if report.has_errors() { Err(report.summary(std::slice::from_ref(source))) } else { Ok(Senders(senders)) }
}

impl Senders {
    /// What comes with Sidelock; a test reads all of it.
    pub fn known() -> Self {
        parse(&known_source()).unwrap_or_else(|_| Self(Vec::new()))
    }

    pub(super) fn read(section: &Section<'_, '_>) -> Self {
        let mut senders = read_all(section);
        senders.extend(Self::known().0);
        Self(senders)
    }

    /// The sender of this name.
    pub fn named(&self, name: &str) -> Option<&Description> {
        self.0.iter().find(|sender| *sender.name == *name)
    }

    /// The networks that this sender publishes, if it does.
    pub fn networks_of(&self, name: &str) -> Option<Vec<IpNet>> {
        self.named(name).map(|sender| sender.networks.clone()).filter(|networks| !networks.is_empty())
    }

    /// Every name.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|sender| &*sender.name)
    }
}

fn read_all(section: &Section<'_, '_>) -> Vec<Description> {
    section
        .named_sections()
        .into_iter()
        .filter_map(|(name, _, section)| description(&name, section))
        .collect()
}

fn description(name: &str, section: Section<'_, '_>) -> Option<Description> {
    let verify = verify(&section);
    let ids = section.sections("id").into_iter().filter_map(id);
    let ids = ids.map(|id| truly_signed(id, verify.as_ref())).collect();
    let require = section.section("require").named_values().into_iter().filter_map(required).collect();
    let handshake = section.get("handshake").and_then(|value| {
        one_of(
            value,
            &[
                ("slack-url-verification", Handshake::SlackUrlVerification),
                ("meta-hub-challenge", Handshake::MetaHubChallenge),
                ("discord-ping", Handshake::DiscordPing),
            ],
        )
    });
    let networks = section.get("allow_cidrs").map(|value| value.parse_all()).unwrap_or_default();
    let check = section.section("body_check");
    let body_check =
        check.get("xml_text").and_then(|value| value.text()).map(|name| BodyCheck::XmlText(name.into()));
    check.finish();
    let reply = reply(section.section("reply"));
    let replay = section.get("replay").and_then(|value| {
        one_of(value, &[("off", Replay::Off), ("signature", Replay::Signature), ("id", Replay::SignedId)])
    });
    let body_signed = section.get("body_signed").and_then(|value| value.truth());
    let secrets = secret_rules(&section);
    let description = Description {
        name: name.into(),
        verify: verify?,
        ids,
        require,
        handshake,
        networks,
        body_check,
        reply,
        replay: replay.unwrap_or(Replay::SignedId),
        secrets,
    };
    judge(&description, body_signed.unwrap_or(true), &section);
    section.finish();
    Some(description)
}

/// What would be believed although nothing proves it.
fn judge(description: &Description, says_body_is_signed: bool, section: &Section<'_, '_>) {
    let signed = match &description.verify {
        Verify::Signature(signed) => signed,
        Verify::Token { place: Place::Json(_), .. } => {
            let message = "a secret in the body is not looked for";
            let help = "name a header, a query parameter or a path; or let the sender sign".to_owned();
            section.reading().error(section.span(), message, Some(help));
            return;
        }
        Verify::Token { .. } | Verify::Basic => return,
    };
    let has = |wanted: fn(&MessageToken) -> bool| signed.message.tokens().iter().any(wanted);
    let refuse = |message: &str, help: &str| {
        section.reading().error(section.span(), message, Some(help.to_owned()));
    };
    if says_body_is_signed && !has(|it| matches!(it, MessageToken::Body | MessageToken::SortedForm)) {
        refuse("the body is not signed", "put {body} into 'msg', or say 'body_signed = false'");
    }
    if has(|it| *it == MessageToken::Timestamp) && signed.timestamp.is_none() {
        refuse("'msg' has {ts}, but no 'ts' says where it stands", "add 'ts'");
    }
    let is_covered = match signed.timestamp.as_ref().map(|timestamp| &timestamp.place) {
        Some(TimestampPlace::Json(pointer)) => covers(signed.message.tokens(), pointer),
        Some(TimestampPlace::Header(_) | TimestampPlace::SignatureItem(_)) => false,
        None => true,
    };
    if !is_covered && !has(|it| *it == MessageToken::Timestamp) {
        // Only a warning: a sender may be like that, and then the memory of deliveries is all there is.
        let message = "the time stamp is not signed: whoever repeats a delivery can give it another one";
        let help = "put {ts} into 'msg' if the sender signs it".to_owned();
        section.reading().warning(section.span(), message, Some(help));
    }
    if has(|it| *it == MessageToken::Id) && !description.ids.iter().any(|id| id.is_signed) {
        refuse("'msg' has {id}, but no signed 'id' says where it stands", "add 'id'");
    }
    let is_hash = signed.primitive == Primitive::Sha256;
    if is_hash != has(|it| *it == MessageToken::Secret) {
        refuse(
            "{secret} belongs into the 'msg' of 'verify = \"hash\"', and only there",
            "see config/senders.toml",
        );
    }
}

fn id(section: Section<'_, '_>) -> Option<Id> {
    let in_header =
        section.required("in").and_then(|value| one_of(value, &[("header", true), ("json", false)]));
    let name = section.required("name");
    let is_signed = section.get("signed").and_then(|value| value.truth()).unwrap_or(false);
    section.finish();
    let place = if in_header? { IdPlace::Header(name?.parse()?) } else { IdPlace::Json(name?.parse()?) };
    Some(Id { place, is_signed })
}

/// An id is signed only by its place in the message, whatever the description says.
fn truly_signed(id: Id, verify: Option<&Verify>) -> Id {
    let tokens = match verify {
        Some(Verify::Signature(signed)) => signed.message.tokens(),
        Some(Verify::Token { .. } | Verify::Basic) | None => &[],
    };
    let in_message = tokens.contains(&MessageToken::Id)
        || match &id.place {
            IdPlace::Header(_) => false,
            IdPlace::Json(pointer) => covers(tokens, pointer),
        };
    Id { is_signed: id.is_signed && in_message, ..id }
}

/// True if a message with these tokens holds the value at `pointer`.
fn covers(tokens: &[MessageToken], pointer: &Pointer) -> bool {
    tokens.iter().any(|token| match token {
        MessageToken::Body => true,
        MessageToken::Json(signed) => signed == pointer,
        MessageToken::Literal(_)
        | MessageToken::Timestamp
        | MessageToken::Id
        | MessageToken::Method
        | MessageToken::Url(_)
        | MessageToken::Secret
        | MessageToken::Header(_)
        | MessageToken::SortedForm => false,
    })
}

fn required((name, value): (String, Value<'_, '_>)) -> Option<(HeaderName, Box<str>)> {
    let Ok(header) = name.parse::<HeaderName>() else {
        value.reading().error(value.span(), "expected a header's name before this value", None);
        return None;
    };
    Some((header, value.text()?.into()))
}

fn reply(section: Section<'_, '_>) -> Option<Reply> {
    let status = section.get("status").and_then(|value| value.number(200, 299));
    let content_type = section.get("content_type").and_then(|value| value.text());
    let body = section.get("body").and_then(|value| value.text()).unwrap_or_default();
    section.finish();
    let status = StatusCode::from_u16(u16::try_from(status?).ok()?).ok()?;
    Some(Reply { status, content_type: content_type?.into(), body: body.into() })
}

fn secret_rules(section: &Section<'_, '_>) -> SecretRules {
    let bytes = |key| section.get(key).and_then(|value| value.number(1, 4096));
    let bytes = |key| bytes(key).and_then(|number| usize::try_from(number).ok());
    SecretRules {
        charset: section.get("secret_charset").and_then(|value| value.parse::<Charset>()),
        fair_bytes: bytes("secret_fair_bytes").unwrap_or_else(|| SecretRules::default().fair_bytes),
        most_bytes: bytes("secret_most_bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_sender_is_read() {
        let senders = parse(&known_source()).unwrap();
        assert_eq!(senders.0.len(), 39);
        assert!(
            KNOWN
                .lines()
                .zip(KNOWN.lines().skip(1))
                .all(|(before, line)| { !line.starts_with("[sender.") || before.starts_with("# ") }),
            "each has its source"
        );
    }

    fn mistake(text: &str) -> String {
        let source = Source { path: PathBuf::from("own.toml"), text: text.to_owned() };
        parse(&source).unwrap_err()
    }

    #[test]
    fn what_nothing_would_prove_is_refused() {
        let good = "[sender.x]\nverify = \"mac\"\nalg = \"hmac-sha256\"\nsig = { in = \"header\", name = \"x-s\", enc = \"hex\" }\nmsg = \"{body}\"\n";
        let source = Source { path: PathBuf::from("own.toml"), text: good.to_owned() };
        assert!(parse(&source).is_ok());
        for (from, to, why) in [
            ("{body}", "x", "the body is not signed"),
            ("{body}", "{ts}{body}", "no 'ts' says where"),
            ("{body}", "{id}{body}", "no signed 'id'"),
            ("{body}", "{secret}{body}", "{secret} belongs"),
            ("{body}", "{bdy}{body}", "means nothing here"),
            ("hmac-sha256", "hmac-sha265", "expected 'hmac-sha1'"),
            ("verify = \"mac\"", "verify = \"hash\"", "expected 'sha256'"),
            ("enc = ", "encc = ", "'enc' is missing"),
            ("name = \"x-s\", ", "", "'name' is missing"),
            ("msg", "ts = { in = \"header\", unit = \"s\" }\nmsg", "'name' is missing"),
        ] {
            let text = mistake(&good.replace(from, to));
            assert!(text.contains(why), "{why} is not in {text}");
        }
    }
}
