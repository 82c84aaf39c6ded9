//! `[sender.<name>]`: a sender's scheme. The senders that are known are written the same way, in `config/senders.toml`.

use std::path::PathBuf;

use http::{HeaderName, StatusCode};

use super::reader::{Reading, Section, Value, meant};
use super::source::Source;
use super::units::Span;
use crate::credential::webhook::crypto::{KeyEncoding, KeyForm, Primitive};
use crate::credential::webhook::description::{
    BodyCheck, Charset, Description, Handshake, Id, IdPlace, Replay, Reply, SecretRules, SignatureEncoding,
    SignatureForm, Signed, Timestamp, TimestampPlace, TimestampUnit, Verify,
};
use crate::credential::webhook::place::{Place, PlaceKind};
use crate::credential::webhook::template::{Item, Message, MessageToken};

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
    let ids = section.sections("id").into_iter().filter_map(id).collect();
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
    let Verify::Signature(signed) = &description.verify else { return };
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
    let id_in_header =
        description.ids.iter().any(|id| id.is_signed && matches!(id.place, IdPlace::Header(_)));
    if id_in_header && !has(|it| *it == MessageToken::Id) {
        refuse("an id in a header is signed only by {id} in 'msg'", "say 'signed = false'");
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mac,
    Hash,
    PublicKey,
    Token,
    Basic,
}

fn verify(section: &Section<'_, '_>) -> Option<Verify> {
    let kind = section.required("verify").and_then(|value| {
        one_of(
            value,
            &[
                ("mac", Kind::Mac),
                ("hash", Kind::Hash),
                ("public-key", Kind::PublicKey),
                ("token", Kind::Token),
                ("basic", Kind::Basic),
            ],
        )
    })?;
    match kind {
        Kind::Basic => Some(Verify::Basic),
        Kind::Token => {
            let sig = section.section("sig");
            let place = place(&sig, Named::MayComeLater);
            let item = sig.get("item").or_else(|| section.get("item"));
            let item = item.map_or_else(|| Some(Item::bare()), |value| template(value, "sig"));
            sig.finish();
            Some(Verify::Token { place: place?, item: item? })
        }
        Kind::Mac | Kind::Hash | Kind::PublicKey => {
            signed(section, kind).map(Box::new).map(Verify::Signature)
        }
    }
}

fn signed(section: &Section<'_, '_>, kind: Kind) -> Option<Signed> {
    let primitives: &[(&str, Primitive)] = match kind {
        Kind::Mac => &[
            ("hmac-sha1", Primitive::HmacSha1),
            ("hmac-sha256", Primitive::HmacSha256),
            ("hmac-sha512", Primitive::HmacSha512),
        ],
        Kind::Hash => &[("sha256", Primitive::Sha256)],
        Kind::PublicKey | Kind::Token | Kind::Basic => {
            &[("ed25519", Primitive::Ed25519), ("ecdsa-p256-sha256", Primitive::EcdsaP256Sha256)]
        }
    };
    let primitive = section.required("alg").and_then(|value| one_of(value, primitives));
    let key = key(section.section("key"));
    let sig = section.section("sig");
    let place = place(&sig, Named::Now);
    let form = form(&sig);
    sig.finish();
    let timestamp = section.get("ts").map(|_| timestamp(section.section("ts")));
    let message = section.required("msg").and_then(|value| value.parse::<Message>());
    let timestamp = match timestamp {
        None => None,
        Some(read) => Some(read?),
    };
    Some(Signed {
        primitive: primitive?,
        key: key?,
        place: place?,
        form: form?,
        timestamp,
        message: message?,
    })
}

fn key(section: Section<'_, '_>) -> Option<KeyForm> {
    let encoding = section.get("encoding").map_or(Some(KeyEncoding::Utf8), |value| {
        one_of(
            value,
            &[
                ("utf8", KeyEncoding::Utf8),
                ("base64", KeyEncoding::Base64),
                ("hex", KeyEncoding::Hex),
                ("spki-der-base64", KeyEncoding::SpkiDerBase64),
            ],
        )
    });
    let strip_prefix = section.get("strip_prefix").and_then(|value| value.text()).map(Into::into);
    section.finish();
    Some(KeyForm { encoding: encoding?, strip_prefix })
}

/// Whether a place must have its name in the description.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Now,
    MayComeLater,
}

fn place(section: &Section<'_, '_>, named: Named) -> Option<Place> {
    #[derive(Clone, Copy)]
    enum In {
        Named(PlaceKind),
        Json,
    }
    let kind = section.required("in").and_then(|value| {
        one_of(
            value,
            &[
                ("header", In::Named(PlaceKind::Header)),
                ("query", In::Named(PlaceKind::Query)),
                ("path", In::Named(PlaceKind::Path)),
                ("json", In::Json),
            ],
        )
    });
    let name = section.get("name");
    match (kind?, name) {
        (In::Json, _) => section.required("ptr").and_then(|value| value.parse()).map(Place::Json),
        (In::Named(kind), Some(name)) => named_place(kind, name),
        (In::Named(kind), None) if named == Named::MayComeLater => Some(Place::Unnamed(kind)),
        (In::Named(_), None) => {
            section.required("name");
            None
        }
    }
}

/// The place of this kind that `value` names.
pub(super) fn named_place(kind: PlaceKind, value: Value<'_, '_>) -> Option<Place> {
    match kind {
        PlaceKind::Header => value.parse::<HeaderName>().map(Place::Header),
        PlaceKind::Query => value.text().map(|name| Place::Query(name.into())),
        PlaceKind::Path => {
            let text = value.text()?;
            let whole =
                text.strip_suffix('/').is_some_and(|path| path.is_empty() || super::is_plain_path(path));
            if !whole {
                value.reading().error(value.span(), "expected a path that ends with '/'", None);
            }
            whole.then(|| Place::Path(text.into()))
        }
    }
}

fn form(section: &Section<'_, '_>) -> Option<SignatureForm> {
    let separator =
        section.get("sep").map_or(Some(None), |value| one_of(value, &[(",", b','), (" ", b' ')]).map(Some));
    let trim_items = section.get("trim_items").and_then(|value| value.truth()).unwrap_or(false);
    let outer = section.get("outer").map_or(Some(false), |value| one_of(value, &[("base64", true)]));
    let item = section.get("item").map_or_else(|| Some(Item::bare()), |value| template(value, "sig"));
    let encoding = section.required("enc").and_then(|value| {
        one_of(
            value,
            &[
                ("hex", SignatureEncoding::Hex),
                ("base64", SignatureEncoding::Base64),
                ("raw", SignatureEncoding::Raw),
            ],
        )
    });
    Some(SignatureForm {
        separator: separator?,
        trim_items,
        outer_base64: outer?,
        item: item?,
        encoding: encoding?,
    })
}

fn timestamp(section: Section<'_, '_>) -> Option<Timestamp> {
    #[derive(Clone, Copy)]
    enum In {
        Header,
        SignatureItem,
        Json,
    }
    let kind = section.required("in").and_then(|value| {
        one_of(value, &[("header", In::Header), ("sig-item", In::SignatureItem), ("json", In::Json)])
    });
    let place = kind.and_then(|kind| match kind {
        In::Header => section.required("name").and_then(|value| value.parse()).map(TimestampPlace::Header),
        In::SignatureItem => {
            let item = section.required("item").and_then(|value| template(value, "ts"));
            item.map(TimestampPlace::SignatureItem)
        }
        In::Json => section.required("ptr").and_then(|value| value.parse()).map(TimestampPlace::Json),
    });
    let unit = section.required("unit").and_then(|value| {
        one_of(
            value,
            &[
                ("s", TimestampUnit::Seconds),
                ("ms", TimestampUnit::Milliseconds),
                ("iso8601", TimestampUnit::Iso8601),
            ],
        )
    });
    let (past_seconds, future_seconds) =
        (section.get("past").and_then(seconds), section.get("future").and_then(seconds));
    section.finish();
    Some(Timestamp { place: place?, unit: unit?, past_seconds, future_seconds })
}

/// Seconds as a number, or a duration such as `5 min`.
pub(super) fn seconds(value: Value<'_, '_>) -> Option<u32> {
    let most = u64::from(u32::MAX);
    let seconds = if value.as_text().is_some() {
        value.parse::<Span>()?.0.as_secs().min(most)
    } else {
        value.number(0, most)?
    };
    u32::try_from(seconds).ok()
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
    section.finish();
    let status = StatusCode::from_u16(u16::try_from(status?).ok()?).ok()?;
    Some(Reply { status, content_type: content_type?.into() })
}

fn secret_rules(section: &Section<'_, '_>) -> SecretRules {
    let bytes = |key| section.get(key).and_then(|value| value.number(1, 4096));
    let bytes = |key| bytes(key).and_then(|number| usize::try_from(number).ok());
    SecretRules {
        charset: section.get("secret_charset").and_then(|value| value.parse::<Charset>()),
        fair_bytes: bytes("secret_fair_bytes").unwrap_or(SecretRules::default().fair_bytes),
        most_bytes: bytes("secret_most_bytes"),
    }
}

fn template(value: Value<'_, '_>, name: &'static str) -> Option<Item> {
    match Item::parse(value.text()?, name) {
        Ok(item) => Some(item),
        Err(error) => {
            value.reading().error(value.span(), error.to_string(), None);
            None
        }
    }
}

/// The meaning of one of a few words.
pub(super) fn one_of<T: Copy>(value: Value<'_, '_>, words: &[(&str, T)]) -> Option<T> {
    let text = value.text()?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning);
    if found.is_none() {
        let all: Vec<String> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
        let help =
            meant(text, words.iter().map(|(word, _)| *word)).map(|near| format!("did you mean '{near}'?"));
        value.reading().error(value.span(), format!("expected {}", all.join(" or ")), help);
    }
    found
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
