//! How a sender proves its deliveries: `verify`, `alg`, `key`, `sig`, `ts` and `msg` of `[sender.<name>]`.

use http::HeaderName;

use super::reader::{Section, Value, meant};
use super::units::Span;
use crate::credential::webhook::crypto::{KeyEncoding, KeyForm, Primitive};
use crate::credential::webhook::description::{
    SignatureEncoding, SignatureForm, Signed, Timestamp, TimestampPlace, TimestampUnit, Verify,
};
use crate::credential::webhook::place::{Place, PlaceKind};
use crate::credential::webhook::template::{Item, Message};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Mac,
    Hash,
    PublicKey,
    Token,
    Basic,
}

pub(super) fn verify(section: &Section<'_, '_>) -> Option<Verify> {
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
