//! What is wrong with a webhook delivery, for the operator's log, for metrics, and for `sidelock webhook verify`.

/// Why a delivery was not believed. The sender sees an empty 401 whatever it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryFault {
    /// The secret is not where it should be.
    #[error("there is no secret where the sender puts it")]
    SecretMissing,
    /// The secret is none that is live.
    #[error("the secret is none that is live")]
    SecretWrong,
    /// No secret is configured, or every one has ended.
    #[error("no secret is configured, or every one has ended")]
    NoSecret,
    /// The configuration lacks something that this sender's scheme needs.
    #[error("the configuration lacks something that this sender's scheme needs")]
    NotConfigured,
    /// A field that the scheme reads is there twice, in one spelling or two.
    #[error("a field that the scheme reads is there twice")]
    FieldDoubled,
    /// A field that the scheme reads is over 8,192 bytes, or its list over 16 items.
    #[error("a field that the scheme reads is over 8192 bytes, or has over 16 items")]
    FieldTooLong,
    /// A field that is signed is missing or empty.
    #[error("a field that is signed is missing or empty")]
    FieldMissing,
    /// A field that selects the scheme does not have the value that the scheme needs.
    #[error("a field that selects the scheme is missing or has another value")]
    OtherScheme,
    /// No signature.
    #[error("there is no signature")]
    SignatureMissing,
    /// Nothing in the signature's place has the form that the sender gives it.
    #[error("the signature does not have the form that the sender gives it")]
    SignatureMalformed,
    /// A well-formed signature of something else, or made with another secret.
    #[error("the signature is of another message, or made with another secret")]
    SignatureWrong,
    /// The signature names another webhook than the configured one.
    #[error("the signature names another webhook")]
    IdMismatch,
    /// No time stamp.
    #[error("there is no time stamp, or more than one")]
    TimestampMissing,
    /// A time stamp in another form than the sender's.
    #[error("the time stamp does not have the form that the sender gives it")]
    TimestampMalformed,
    /// Signed too long ago.
    #[error("the time stamp is too old")]
    TimestampTooOld,
    /// Signed further ahead than clocks differ.
    #[error("the time stamp is in the future: is a clock wrong?")]
    TimestampInFuture,
    /// The body was not read, and cannot be believed unread.
    #[error("the body was not read")]
    BodyUnread,
    /// The body is not of the kind that the scheme reads.
    #[error("the body is not of the kind that the scheme reads")]
    BodyMalformed,
    /// The body is another one than the signed digest's, or from another organization.
    #[error("the body is not the one that was announced, or is of another organization")]
    BodyMismatch,
    /// The peer is not in the sender's networks.
    #[error("the address is not in the sender's networks")]
    ForeignAddress,
    /// A registration handshake that does not carry the agreed token.
    #[error("the registration handshake does not carry the agreed token")]
    HandshakeRefused,
}

impl DeliveryFault {
    /// Every fault, in the order of their metrics.
    pub const ALL: [Self; 21] = [
        Self::SecretMissing,
        Self::SecretWrong,
        Self::NoSecret,
        Self::NotConfigured,
        Self::FieldDoubled,
        Self::FieldTooLong,
        Self::FieldMissing,
        Self::OtherScheme,
        Self::SignatureMissing,
        Self::SignatureMalformed,
        Self::SignatureWrong,
        Self::IdMismatch,
        Self::TimestampMissing,
        Self::TimestampMalformed,
        Self::TimestampTooOld,
        Self::TimestampInFuture,
        Self::BodyUnread,
        Self::BodyMalformed,
        Self::BodyMismatch,
        Self::ForeignAddress,
        Self::HandshakeRefused,
    ];

    /// Position in [`Self::ALL`].
    pub(super) const fn index(self) -> usize {
        match self {
            Self::SecretMissing => 0,
            Self::SecretWrong => 1,
            Self::NoSecret => 2,
            Self::NotConfigured => 3,
            Self::FieldDoubled => 4,
            Self::FieldTooLong => 5,
            Self::FieldMissing => 6,
            Self::OtherScheme => 7,
            Self::SignatureMissing => 8,
            Self::SignatureMalformed => 9,
            Self::SignatureWrong => 10,
            Self::IdMismatch => 11,
            Self::TimestampMissing => 12,
            Self::TimestampMalformed => 13,
            Self::TimestampTooOld => 14,
            Self::TimestampInFuture => 15,
            Self::BodyUnread => 16,
            Self::BodyMalformed => 17,
            Self::BodyMismatch => 18,
            Self::ForeignAddress => 19,
            Self::HandshakeRefused => 20,
        }
    }

    /// The label value in metrics and the word in the access log. Stable.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::SecretMissing => "webhook_secret_missing",
            Self::SecretWrong => "webhook_secret_wrong",
            Self::NoSecret => "webhook_no_secret",
            Self::NotConfigured => "webhook_not_configured",
            Self::FieldDoubled => "webhook_field_doubled",
            Self::FieldTooLong => "webhook_field_too_long",
            Self::FieldMissing => "webhook_field_missing",
            Self::OtherScheme => "webhook_other_scheme",
            Self::SignatureMissing => "webhook_signature_missing",
            Self::SignatureMalformed => "webhook_signature_malformed",
            Self::SignatureWrong => "webhook_signature_wrong",
            Self::IdMismatch => "webhook_id_mismatch",
            Self::TimestampMissing => "webhook_timestamp_missing",
            Self::TimestampMalformed => "webhook_timestamp_malformed",
            Self::TimestampTooOld => "webhook_timestamp_too_old",
            Self::TimestampInFuture => "webhook_timestamp_in_future",
            Self::BodyUnread => "webhook_body_unread",
            Self::BodyMalformed => "webhook_body_malformed",
            Self::BodyMismatch => "webhook_body_mismatch",
            Self::ForeignAddress => "webhook_foreign_address",
            Self::HandshakeRefused => "webhook_handshake_refused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_place_and_word() {
        for (at, fault) in DeliveryFault::ALL.into_iter().enumerate() {
            assert_eq!(fault.index(), at, "{fault:?}");
            let others = DeliveryFault::ALL.iter().filter(|other| other.reason() == fault.reason());
            assert_eq!(others.count(), 1, "{fault:?}");
        }
    }
}
