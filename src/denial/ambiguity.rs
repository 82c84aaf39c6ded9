//! What makes a request ambiguous, for the operator's log.

/// What could be read in two ways. The operator sees the word in the access log; the client does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ambiguity {
    /// The head is not valid HTTP/1.1 at all.
    Syntax,
    /// A method with anything but capital letters and hyphens.
    Method,
    /// `.` or `..` as a segment, however spelled.
    DotSegment,
    /// Two slashes in a row.
    DoubleSlash,
    /// A backslash, plain or encoded.
    Backslash,
    /// An encoded slash, question mark, hash or percent sign that hides another escape.
    EncodedDelimiter,
    /// An encoded control character.
    EncodedControl,
    /// An unreserved character spelled as an escape.
    EncodedUnreserved,
    /// An escape that is cut short or not hexadecimal.
    BadEscape,
    /// Escapes that are not UTF-8, or a lookalike of a delimiter.
    BadUnicode,
    /// A byte that may not stand in a target.
    BadTargetByte,
    /// `;` in a path segment where scopes decide.
    PathParameter,
    /// An absolute target for another host, or with user information.
    ForeignAuthority,
    /// A target form that this method does not have.
    TargetForm,
    /// No `Host`, several, or one that is not `name[:port]`.
    Host,
    /// Content-Length and Transfer-Encoding that disagree, repeat, or are not canonical.
    Framing,
    /// A body on a method that has none.
    UnexpectedBody,
    /// A field name outside `[A-Za-z0-9-]` that is not listed.
    FieldName,
    /// More than one credential.
    SeveralCredentials,
    /// The credential is repeated in the target.
    CredentialInTarget,
    /// An upgrade that is not a well-formed WebSocket handshake.
    Upgrade,
    /// A trailer field that names framing, routing, authentication or identity.
    Trailer,
}

impl Ambiguity {
    /// The word for the access log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Method => "method",
            Self::DotSegment => "dot_segment",
            Self::DoubleSlash => "double_slash",
            Self::Backslash => "backslash",
            Self::EncodedDelimiter => "encoded_delimiter",
            Self::EncodedControl => "encoded_control",
            Self::EncodedUnreserved => "encoded_unreserved",
            Self::BadEscape => "bad_escape",
            Self::BadUnicode => "bad_unicode",
            Self::BadTargetByte => "bad_target_byte",
            Self::PathParameter => "path_parameter",
            Self::ForeignAuthority => "foreign_authority",
            Self::TargetForm => "target_form",
            Self::Host => "host",
            Self::Framing => "framing",
            Self::UnexpectedBody => "unexpected_body",
            Self::FieldName => "field_name",
            Self::SeveralCredentials => "several_credentials",
            Self::CredentialInTarget => "credential_in_target",
            Self::Upgrade => "upgrade",
            Self::Trailer => "trailer",
        }
    }

    /// True where the doubt is about where the message ends or whom it is for.
    pub(super) const fn is_framing(self) -> bool {
        match self {
            Self::Syntax
            | Self::Framing
            | Self::UnexpectedBody
            | Self::Host
            | Self::Upgrade
            | Self::Trailer => true,
            Self::Method
            | Self::DotSegment
            | Self::DoubleSlash
            | Self::Backslash
            | Self::EncodedDelimiter
            | Self::EncodedControl
            | Self::EncodedUnreserved
            | Self::BadEscape
            | Self::BadUnicode
            | Self::BadTargetByte
            | Self::PathParameter
            | Self::ForeignAuthority
            | Self::TargetForm
            | Self::FieldName
            | Self::SeveralCredentials
            | Self::CredentialInTarget => false,
        }
    }
}
