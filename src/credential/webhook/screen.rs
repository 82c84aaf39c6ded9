//! What the head alone tells, so that a stranger's body is not held for nothing.

use super::Delivery;
use super::description::{Signed, TimestampPlace, Verify};
use super::place::{Place, in_head};
use super::sender::Sender;
use super::{signature, token};
use crate::clock::WallTime;
use crate::denial::DeliveryFault;

impl Sender {
    /// Refuses what no body could make good: a secret that is missing or wrong, a signature that is missing or malformed, a
    /// time stamp in the head that is out of its window.
    ///
    /// # Errors
    /// The [`DeliveryFault`] that the whole delivery would have.
    pub fn screen(&self, delivery: &Delivery<'_>, now: WallTime) -> Result<(), DeliveryFault> {
        self.judge_peer(delivery)?;
        if self.description.handshake.is_some_and(|it| it.may_be_unsigned(delivery.method)) {
            return Ok(());
        }
        self.judge_required(delivery)?;
        self.judge_live(now)?;
        match &self.description.verify {
            Verify::Signature(signed) => self.screen_signature(signed, delivery, now),
            Verify::Token { place, .. } => {
                let around = self.around.as_ref().ok_or(DeliveryFault::NotConfigured)?;
                self.which(&token::presented(place, around, delivery)?, now).map(drop)
            }
            Verify::Basic => self.which(&token::basic(delivery)?, now).map(drop),
        }
    }

    fn screen_signature(
        &self,
        signed: &Signed,
        delivery: &Delivery<'_>,
        now: WallTime,
    ) -> Result<(), DeliveryFault> {
        if matches!(signed.place, Place::Json(_)) {
            return Ok(());
        }
        let around = self.around.as_ref().ok_or(DeliveryFault::NotConfigured)?;
        let text = in_head(&signed.place, delivery)?.ok_or(DeliveryFault::SignatureMissing)?;
        let presented = signature::read(&text, &signed.form, around, signed.primitive)?;
        match &signed.timestamp {
            Some(rule) if !matches!(rule.place, TimestampPlace::Json(_)) => {
                let text = self.timestamp(signed, &presented, delivery, &|_| None)?;
                text.map_or(Ok(()), |text| rule.judge(&text, now))
            }
            Some(_) | None => Ok(()),
        }
    }
}
