//! A sender with its secrets: ready to judge deliveries.

use subtle::{Choice, ConditionallySelectable};

use super::crypto::Key;
use super::description::{
    BodyCheck, Description, IdPlace, Replay, SignatureForm, Signed, TimestampPlace, Verify,
};
use super::json::{Pointer, Scalar, find};
use super::message::{Piece, Values, render};
use super::place::{Place, in_head, one_header};
use super::replay::KnownBy;
use super::settings::{HandshakeMode, LiveSecret, ReplayMode, Settings};
use super::template::Around;
use super::{Answer, Delivery, Proved, ReplayKey, handshake, signature, token, xml};
use crate::clock::WallTime;
use crate::denial::DeliveryFault;
use crate::networks::Networks;
use crate::secret::Secret;

/// A sender with its secrets.
pub struct Sender {
    pub(super) description: Description,
    pub(super) settings: Settings,
    pub(super) networks: Networks,
    pub(super) pointers: Vec<Pointer>,
    /// Where the secret itself travels.
    pub(super) secret_place: Option<Place>,
    /// What is around a signature or a secret; `None` if the configuration lacks a name in it.
    pub(super) around: Option<Around>,
    /// What is around a time stamp among the signature's items.
    pub(super) timestamp_around: Option<Around>,
    pub(super) secrets: Vec<Live>,
}

pub(super) struct Live {
    pub(super) secret: Secret,
    /// `None` for a secret that is no key of this scheme, which verifies nothing.
    pub(super) key: Option<Key>,
    pub(super) until: Option<WallTime>,
}

/// A signature scheme's part of a proof.
struct Verified {
    secret_index: usize,
    replay_key: Option<ReplayKey>,
}

impl Sender {
    /// Prepares everything that does not depend on a delivery.
    pub fn new(mut description: Description, settings: Settings, secrets: Vec<LiveSecret>) -> Self {
        if let (Some(place), Verify::Token { place: usual, .. }) = (&settings.place, &mut description.verify)
        {
            usual.clone_from(place);
        }
        if let (Some(seconds), Verify::Signature(signed)) =
            (settings.tolerance_seconds, &mut description.verify)
            && let Some(timestamp) = &mut signed.timestamp
        {
            timestamp.past_seconds = Some(seconds);
            timestamp.future_seconds = Some(seconds);
        }
        let value_of = |name: &str| settings.variables.get(name).cloned();
        let (around, timestamp_around) = match &description.verify {
            Verify::Signature(signed) => {
                let timestamp = signed.timestamp.as_ref().and_then(|timestamp| match &timestamp.place {
                    TimestampPlace::SignatureItem(item) => item.fill(&value_of),
                    TimestampPlace::Header(_) | TimestampPlace::Json(_) => None,
                });
                (signed.form.item.fill(&value_of), timestamp)
            }
            Verify::Token { item, .. } => (item.fill(&value_of), None),
            Verify::Basic => (None, None),
        };
        let live = |LiveSecret { secret, until }| Live { key: key(&description, &secret), secret, until };
        Self {
            networks: Networks::new(description.networks.iter().copied()),
            pointers: description.pointers(),
            secret_place: match &description.verify {
                Verify::Token { place, .. } => Some(place.clone()),
                Verify::Basic => Some(Place::Header(http::header::AUTHORIZATION)),
                Verify::Signature(_) => None,
            },
            around,
            timestamp_around,
            secrets: secrets.into_iter().map(live).collect(),
            description,
            settings,
        }
    }

    /// True if the delivery is genuine: made by someone with one of the live secrets, and not too long ago.
    ///
    /// # Errors
    /// The first [`DeliveryFault`].
    pub fn prove(&self, delivery: &Delivery<'_>, now: WallTime) -> Result<Proved, DeliveryFault> {
        self.judge_peer(delivery)?;
        let asked =
            handshake::unsigned(self.description.handshake, delivery, self.settings.verify_token.as_ref())?;
        if let Some(answer) = asked {
            let handshake = self.answered(Some(answer));
            return Ok(Proved { secret_index: None, replay_key: None, presented: Vec::new(), handshake });
        }
        self.judge_required(delivery)?;
        self.judge_live(now)?;
        match &self.description.verify {
            Verify::Signature(signed) => {
                let verified = self.verify(signed, delivery, now)?;
                self.judge_body(delivery)?;
                let handshake = self.answered(handshake::signed(self.description.handshake, delivery.body));
                Ok(Proved {
                    secret_index: Some(verified.secret_index),
                    replay_key: verified.replay_key,
                    presented: Vec::new(),
                    handshake,
                })
            }
            Verify::Token { place, .. } => {
                let around = self.around.as_ref().ok_or(DeliveryFault::NotConfigured)?;
                self.by_secret(token::presented(place, around, delivery)?, delivery, now)
            }
            Verify::Basic => self.by_secret(token::basic(delivery)?, delivery, now),
        }
    }

    pub(super) fn judge_peer(&self, delivery: &Delivery<'_>) -> Result<(), DeliveryFault> {
        let inside = || delivery.peer.is_some_and(|peer| self.networks.contains(peer));
        if self.settings.enforces_networks && !inside() {
            return Err(DeliveryFault::ForeignAddress);
        }
        Ok(())
    }

    pub(super) fn judge_live(&self, now: WallTime) -> Result<(), DeliveryFault> {
        if self.secrets.iter().any(|live| live.is_live(now)) { Ok(()) } else { Err(DeliveryFault::NoSecret) }
    }

    pub(super) fn judge_required(&self, delivery: &Delivery<'_>) -> Result<(), DeliveryFault> {
        for (name, value) in &self.description.require {
            if one_header(delivery.headers, name)? != Some(value.as_bytes()) {
                return Err(DeliveryFault::OtherScheme);
            }
        }
        Ok(())
    }

    fn judge_body(&self, delivery: &Delivery<'_>) -> Result<(), DeliveryFault> {
        let Some(BodyCheck::XmlText(name)) = &self.description.body_check else {
            return Ok(());
        };
        let own = self.settings.organization_id.as_deref().filter(|own| !own.is_empty());
        let own = own.ok_or(DeliveryFault::NotConfigured)?;
        let given = xml::only_text(delivery.body, name).ok_or(DeliveryFault::BodyMalformed)?;
        if given == own { Ok(()) } else { Err(DeliveryFault::BodyMismatch) }
    }

    fn answered(&self, answer: Option<Answer>) -> Option<Answer> {
        answer.filter(|_| self.settings.handshake == HandshakeMode::Answer)
    }

    fn by_secret(
        &self,
        presented: token::Presented,
        delivery: &Delivery<'_>,
        now: WallTime,
    ) -> Result<Proved, DeliveryFault> {
        let secret_index = self.which(&presented, now)?;
        self.judge_body(delivery)?;
        Ok(Proved {
            secret_index: Some(secret_index),
            replay_key: None,
            presented: std::iter::once(presented.secret).chain(presented.as_sent).collect(),
            handshake: self.answered(handshake::signed(self.description.handshake, delivery.body)),
        })
    }

    /// Which live secret it is that was presented.
    pub(super) fn which(&self, presented: &token::Presented, now: WallTime) -> Result<usize, DeliveryFault> {
        let hits = |live: &Live| Choice::from(u8::from(live.secret.matches(presented.secret.expose())));
        self.first(now, hits).ok_or(DeliveryFault::SecretWrong)
    }

    /// The first live secret that fits. All are tried, whatever was found, and the time tells nothing about which.
    fn first(&self, now: WallTime, fits: impl Fn(&Live) -> Choice) -> Option<usize> {
        let (mut index, mut hit) = (0_u32, Choice::from(0));
        for (at, live) in (0_u32..).zip(&self.secrets) {
            let fits = fits(live) & Choice::from(u8::from(live.is_live(now)));
            index = u32::conditional_select(&index, &at, fits & !hit);
            hit |= fits;
        }
        if bool::from(hit) { usize::try_from(index).ok() } else { None }
    }

    fn verify(
        &self,
        signed: &Signed,
        delivery: &Delivery<'_>,
        now: WallTime,
    ) -> Result<Verified, DeliveryFault> {
        let around = self.around.as_ref().ok_or(DeliveryFault::NotConfigured)?;
        let values = if self.pointers.is_empty() {
            Vec::new()
        } else {
            find(delivery.body, &self.pointers).map_err(|_| DeliveryFault::BodyMalformed)?
        };
        let json = |pointer: &Pointer| text_at(&self.pointers, &values, pointer);
        let text = match &signed.place {
            Place::Json(pointer) => json(pointer).map(|text| text.as_bytes().to_vec()),
            Place::Header(_) | Place::Query(_) | Place::Path(_) | Place::Unnamed(_) => {
                in_head(&signed.place, delivery)?
            }
        };
        let text = text.ok_or(DeliveryFault::SignatureMissing)?;
        let presented = signature::read(&text, &signed.form, around, signed.primitive)?;
        let timestamp = self.timestamp(signed, &presented, delivery, &json)?;
        if let (Some(rule), Some(text)) = (&signed.timestamp, &timestamp) {
            rule.judge(text, now)?;
        }
        let id = self.signed_id(delivery, &json)?;
        let values = Values { timestamp: timestamp.as_deref(), id: id.as_deref(), json: &json };
        let forms = render(&signed.message, delivery, &values)?;
        let fits = |live: &Live| {
            let Some(key) = &live.key else { return Choice::from(0) };
            forms.iter().fold(Choice::from(0), |hit, form| hit | key.verifies(form, &presented.signatures))
        };
        let secret_index = self.first(now, fits).ok_or(DeliveryFault::SignatureWrong)?;
        let replay_key = self.replay_key(signed, delivery, &presented.signatures, &forms);
        Ok(Verified { secret_index, replay_key })
    }

    pub(super) fn timestamp<'v>(
        &self,
        signed: &Signed,
        presented: &signature::Presented,
        delivery: &Delivery<'_>,
        json: &dyn Fn(&Pointer) -> Option<&'v str>,
    ) -> Result<Option<Vec<u8>>, DeliveryFault> {
        let Some(rule) = &signed.timestamp else {
            return Ok(None);
        };
        let text = match &rule.place {
            TimestampPlace::Header(name) => one_header(delivery.headers, name)?.map(<[u8]>::to_vec),
            TimestampPlace::Json(pointer) => json(pointer).map(|text| text.as_bytes().to_vec()),
            TimestampPlace::SignatureItem(_) => {
                let around = self.timestamp_around.as_ref().ok_or(DeliveryFault::NotConfigured)?;
                let mut stamps = presented.items.iter().filter_map(|item| around.value(item));
                match (stamps.next(), stamps.next()) {
                    (Some(text), None) => Some(text.to_vec()),
                    (Some(_) | None, _) => None,
                }
            }
        };
        text.filter(|text| !text.is_empty()).ok_or(DeliveryFault::TimestampMissing).map(Some)
    }

    /// The id's text, where the message needs it.
    fn signed_id<'v>(
        &self,
        delivery: &Delivery<'_>,
        json: &dyn Fn(&Pointer) -> Option<&'v str>,
    ) -> Result<Option<Vec<u8>>, DeliveryFault> {
        let text = match self.description.signed_id().map(|id| &id.place) {
            Some(IdPlace::Header(name)) => one_header(delivery.headers, name)?.map(<[u8]>::to_vec),
            Some(IdPlace::Json(pointer)) => json(pointer).map(|text| text.as_bytes().to_vec()),
            None => None,
        };
        Ok(text.filter(|text| !text.is_empty()))
    }

    fn replay_key(
        &self,
        signed: &Signed,
        delivery: &Delivery<'_>,
        signatures: &[Vec<u8>],
        forms: &[Vec<Piece<'_>>],
    ) -> Option<ReplayKey> {
        let replay = match (self.settings.replay, self.description.replay) {
            (ReplayMode::Off, _) | (ReplayMode::Usual, Replay::Off) => return None,
            (ReplayMode::On, Replay::Off) => Replay::Signature,
            (ReplayMode::On | ReplayMode::Usual, replay) => replay,
        };
        if replay == Replay::SignedId
            && let Some(id) = self.id_of_verified(delivery)
        {
            return Some(ReplayKey::new(KnownBy::Id, std::iter::once(&*id)));
        }
        match signatures {
            [only] if signed.primitive.is_deterministic() && is_single(&signed.form) => {
                Some(ReplayKey::new(KnownBy::Signature, std::iter::once(&**only)))
            }
            // Whoever replays could leave one of several signatures out, or make another one of the same message.
            _ => forms
                .first()
                .map(|form| ReplayKey::new(KnownBy::Message, form.iter().map(|piece| piece.bytes(b"")))),
        }
    }

    /// The first signed id that a verified delivery really has.
    fn id_of_verified(&self, delivery: &Delivery<'_>) -> Option<Vec<u8>> {
        self.description.ids.iter().filter(|id| id.is_signed).find_map(|id| match &id.place {
            IdPlace::Header(name) => one_header(delivery.headers, name).ok()?.map(<[u8]>::to_vec),
            IdPlace::Json(pointer) => {
                let found = find(delivery.body, std::slice::from_ref(pointer)).ok()?;
                found.first()?.as_ref()?.text().map(|text| text.as_bytes().to_vec())
            }
        })
    }
}

impl Live {
    pub(super) fn is_live(&self, now: WallTime) -> bool {
        !self.secret.is_empty() && self.until.is_none_or(|until| now < until)
    }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secrets = self.secrets.len();
        f.debug_struct("Sender")
            .field("name", &self.description.name)
            .field("secrets", &secrets)
            .finish_non_exhaustive()
    }
}

/// The key that `secret` is in this scheme.
fn key(description: &Description, secret: &Secret) -> Option<Key> {
    match &description.verify {
        Verify::Signature(signed) => signed.primitive.key(&signed.key, secret).ok(),
        // Compared as it is.
        Verify::Token { .. } | Verify::Basic => None,
    }
}

const fn is_single(form: &SignatureForm) -> bool {
    form.separator.is_none()
}

fn text_at<'v>(pointers: &[Pointer], values: &'v [Option<Scalar>], wanted: &Pointer) -> Option<&'v str> {
    let at = pointers.iter().position(|pointer| pointer == wanted)?;
    values.get(at)?.as_ref()?.text()
}
