//! Why a reply of the CRM's that may show hidden fields is not shown, for the operator's log.

/// The reply cannot be read with certainty. The operator sees the word in the access log; the client does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplyFault {
    /// Its `Content-Type` is not that of JSON in UTF-8, or stands there twice.
    Kind,
    /// It has a content coding, though none was asked for.
    Encoded,
    /// It is a part, though the whole was asked for.
    Partial,
    /// Over `[limits] held_reply`.
    TooLarge,
    /// Not whole in time.
    TooSlow,
    /// It broke off.
    Broken,
    /// Not JSON.
    NotJson,
    /// An object in it has a name twice.
    RepeatedName,
    /// Nested deeper, or with more names, than is read.
    TooMuch,
}

impl ReplyFault {
    /// The word for the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Kind => "content_type",
            Self::Encoded => "content_encoding",
            Self::Partial => "partial",
            Self::TooLarge => "too_large",
            Self::TooSlow => "too_slow",
            Self::Broken => "broken",
            Self::NotJson => "not_json",
            Self::RepeatedName => "repeated_name",
            Self::TooMuch => "too_much",
        }
    }
}
