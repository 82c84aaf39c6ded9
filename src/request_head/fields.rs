//! Every header field, looked at once: what it is, and whether it may go on to the CRM.
//!
//! CGI, Rack, WSGI and PHP read `_` and `-` in field names as one letter, so all comparisons here do too, and a name with
//! `_` passes only if it is listed.

use http::{HeaderMap, HeaderName, header};

use crate::denial::{Ambiguity, Denial};

/// What the fields of one head say.
#[derive(Debug, Default)]
pub struct Facts {
    /// At least one `Content-Length`.
    pub has_content_length: bool,
    /// At least one `Transfer-Encoding`.
    pub has_transfer_encoding: bool,
    /// At least one `Expect`.
    pub has_expect: bool,
    /// `Connection: upgrade` with `Upgrade`.
    pub wants_upgrade: bool,
    /// Fields that do not go on: hop-by-hop, forwarding, identity, method override.
    pub not_forwarded: Vec<HeaderName>,
}

/// Field names with characters outside `[A-Za-z0-9-]` that may pass all the same, lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedNames(Vec<HeaderName>);

impl ListedNames {
    /// From names as configured.
    pub const fn new(names: Vec<HeaderName>) -> Self {
        Self(names)
    }

    fn contains(&self, name: &HeaderName) -> bool {
        self.0.contains(name)
    }
}

/// Names of fields to look for in every request, in whatever spelling.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WantedNames {
    names: Vec<HeaderName>,
    /// Bit `n` is set for a name of `n` bytes: most fields need no closer look.
    lengths: u64,
}

impl WantedNames {
    /// From names as configured.
    pub fn new(names: Vec<HeaderName>) -> Self {
        let lengths = names.iter().fold(0, |lengths, name| lengths | length_bit(name));
        Self { names, lengths }
    }

    /// Those that are there, as they are spelled.
    pub fn present_in<'a>(&'a self, headers: &'a HeaderMap) -> impl Iterator<Item = &'a HeaderName> {
        headers.keys().filter(|name| {
            self.lengths & length_bit(name) != 0
                && self.names.iter().any(|wanted| same_name(wanted.as_str(), name.as_str()))
        })
    }
}

/// Names of 63 bytes and more share a bit.
fn length_bit(name: &HeaderName) -> u64 {
    1 << name.as_str().len().min(63)
}

/// What a field is to a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Passes.
    Plain,
    /// `Content-Length`.
    ContentLength,
    /// `Transfer-Encoding`: never copied; the message upstream is framed anew.
    TransferEncoding,
    /// `Connection`.
    Connection,
    /// `Upgrade`.
    Upgrade,
    /// Ends at this hop (RFC 9110 section 7.6.1).
    HopByHop,
    /// `Expect`: answered at this hop; the client is told to continue when the CRM's side takes the body.
    Expect,
    /// Says where a request came from; rewritten.
    Forwarding,
    /// Says who the caller is; only Sidelock may say that.
    Identity,
    /// Changes the method after it was judged.
    MethodOverride,
}

/// Judges all fields of a head in one pass.
///
/// # Errors
/// [`Ambiguity::FieldName`] for a name that is neither `[A-Za-z0-9-]` nor listed.
pub fn judge(headers: &HeaderMap, listed: &ListedNames) -> Result<Facts, Denial> {
    let mut facts = Facts::default();
    for name in headers.keys() {
        let text = name.as_str();
        let kind = if is_plain_name(text) {
            kind_of(text)
        } else if listed.contains(name) {
            kind_of(&text.replace('_', "-"))
        } else {
            return Err(Denial::Ambiguous(Ambiguity::FieldName));
        };
        match kind {
            Kind::Plain => continue,
            Kind::ContentLength => {
                facts.has_content_length = true;
                continue;
            }
            Kind::TransferEncoding => facts.has_transfer_encoding = true,
            Kind::Expect => facts.has_expect = true,
            Kind::Connection => nominated(headers, &mut facts),
            Kind::Upgrade | Kind::HopByHop | Kind::Forwarding | Kind::Identity | Kind::MethodOverride => {}
        }
        facts.not_forwarded.push(name.clone());
    }
    facts.wants_upgrade = facts.wants_upgrade && headers.contains_key(header::UPGRADE);
    Ok(facts)
}

/// Adds what `Connection` names, but nothing that Sidelock sets, checks or needs: those are handled on their own.
fn nominated(headers: &HeaderMap, facts: &mut Facts) {
    for value in headers.get_all(header::CONNECTION) {
        for token in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"upgrade") {
                facts.wants_upgrade = true;
            } else if let Ok(name) = HeaderName::from_bytes(token)
                && may_be_nominated(&name)
                && headers.contains_key(&name)
            {
                facts.not_forwarded.push(name);
            }
        }
    }
}

fn may_be_nominated(name: &HeaderName) -> bool {
    let protected = *name == header::HOST
        || *name == header::CONTENT_LENGTH
        || *name == header::CONTENT_TYPE
        || *name == header::AUTHORIZATION
        || *name == header::COOKIE
        || *name == header::ORIGIN;
    !protected && kind_of(name.as_str()) == Kind::Plain
}

fn is_plain_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The kind of a field by its name, lower case and with `-` for `_`.
pub fn kind_of(name: &str) -> Kind {
    match name.len() {
        2 if name == "te" => Kind::HopByHop,
        6 => match name {
            "x-host" => Kind::Forwarding,
            "expect" => Kind::Expect,
            _ => prefixed(name),
        },
        7 => match name {
            "upgrade" => Kind::Upgrade,
            _ => prefixed(name),
        },
        9 => match name {
            "forwarded" | "x-real-ip" => Kind::Forwarding,
            "x-user-id" => Kind::Identity,
            _ => prefixed(name),
        },
        10 => match name {
            "connection" => Kind::Connection,
            "keep-alive" => Kind::HopByHop,
            _ => prefixed(name),
        },
        11 => match name {
            "remote-user" => Kind::Identity,
            "x-client-ip" => Kind::Forwarding,
            _ => prefixed(name),
        },
        12 if name == "x-request-id" => Kind::Identity,
        13 if name == "x-http-method" => Kind::MethodOverride,
        14 if name == "content-length" => Kind::ContentLength,
        14 if matches!(name, "true-client-ip" | "http2-settings" | "x-proxyuser-ip") => Kind::Forwarding,
        15 if name == "front-end-https" => Kind::Forwarding,
        16 if name == "proxy-connection" => Kind::HopByHop,
        17 if name == "transfer-encoding" => Kind::TransferEncoding,
        16.. => long_name(name),
        _ => prefixed(name),
    }
}

fn long_name(name: &str) -> Kind {
    match name {
        "cf-connecting-ip"
        | "fastly-client-ip"
        | "x-cluster-client-ip"
        | "x-originating-ip"
        | "x-rewrite-url" => Kind::Forwarding,
        "x-method-override" | "x-http-method-override" => Kind::MethodOverride,
        "proxy-authorization" | "proxy-authenticate" | "proxy-authentication-info" => Kind::HopByHop,
        "x-anonymous-consumer" => Kind::Identity,
        _ => prefixed(name),
    }
}

/// Families by prefix. Who relies on them: oauth2-proxy, Kong, Envoy, Traefik, nginx `auth_request` set-ups.
fn prefixed(name: &str) -> Kind {
    let Some(rest) = name.strip_prefix("x-") else {
        return match name {
            "remote-groups" | "remote-email" | "remote-name" | "ssl-client-cert" | "ssl-client-s-dn" => {
                Kind::Identity
            }
            // httpoxy: CGI turns it into a proxy setting.
            "proxy" | "client-ip" | "forwarded-for" => Kind::Forwarding,
            _ => Kind::Plain,
        };
    };
    const IDENTITY: [&str; 10] = [
        "sidelock",
        "webauth-",
        "auth-user",
        "consumer-",
        "authenticated-",
        "remote-",
        "credential-",
        "client-cert",
        "ssl-",
        "auth-request-",
    ];
    const FORWARDED_IDENTITY: [&str; 7] = [
        "forwarded-user",
        "forwarded-email",
        "forwarded-groups",
        "forwarded-preferred-username",
        "forwarded-access-token",
        "forwarded-client-cert",
        "forwarded-tls-client-cert",
    ];
    if IDENTITY.iter().any(|prefix| rest.starts_with(prefix))
        || FORWARDED_IDENTITY.iter().any(|it| rest.starts_with(it))
    {
        Kind::Identity
    } else if rest.starts_with("forwarded")
        || rest.starts_with("original-")
        || rest.starts_with("envoy-")
        || matches!(rest, "rewrite-url" | "scheme" | "accel-redirect" | "sendfile" | "azure-clientip")
    {
        Kind::Forwarding
    } else if matches!(rest, "method-override" | "http-method" | "method") {
        Kind::MethodOverride
    } else {
        Kind::Plain
    }
}

/// True if `a` and `b` name one field to a CRM: case-blind, `_` as `-`.
pub fn same_name(a: &str, b: &str) -> bool {
    let fold = |byte: u8| {
        if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() }
    };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(pairs: &[(&str, &str)]) -> Result<Facts, Denial> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        judge(&headers, &ListedNames::new(vec![HeaderName::from_static("api_access_token")]))
    }

    #[test]
    fn wanted_names_in_every_spelling() {
        let long = "x-".repeat(40);
        let wanted = WantedNames::new(vec!["api_access_token".parse().unwrap(), long.parse().unwrap()]);
        let mut headers = HeaderMap::new();
        let other = "y-".repeat(40);
        for name in ["api-access-token", "api_access_token", "xpi-access-token", &long, &other, "uid"] {
            headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), "x".parse().unwrap());
        }
        let mut found: Vec<_> = wanted.present_in(&headers).map(HeaderName::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, ["api-access-token", "api_access_token", &long]);
        assert_eq!(WantedNames::default().present_in(&headers).count(), 0);
    }

    #[test]
    fn identity_and_forwarding_never_pass() {
        for name in [
            "x-sidelock-key-id",
            "x-forwarded-user",
            "remote-user",
            "x-consumer-id",
            "x-ssl-client-cn",
            "x-request-id",
            "x-forwarded-for",
            "forwarded",
            "x-real-ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-original-url",
            "x-rewrite-url",
            "x-forwarded-host",
            "x-envoy-peer",
            "x-http-method-override",
            "x-method-override",
            "x-http-method",
            "connection",
            "te",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "upgrade",
            "transfer-encoding",
            "http2-settings",
            "x-host",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-proxyuser-ip",
            "x-method",
            "proxy",
            "client-ip",
            "forwarded-for",
            "x-sidelock",
            "x-auth-user",
            "front-end-https",
            "x-accel-redirect",
            "ssl-client-cert",
        ] {
            assert_eq!(judged(&[(name, "v")]).unwrap().not_forwarded.len(), 1, "{name}");
        }
        for name in
            ["accept", "x-token", "user-agent", "content-type", "x-auth-token", "x-user", "authorization"]
        {
            assert!(judged(&[(name, "v")]).unwrap().not_forwarded.is_empty(), "{name}");
        }
    }

    #[test]
    fn underscores_pass_only_if_listed() {
        assert!(judged(&[("api_access_token", "v")]).is_ok());
        assert!(judged(&[("x_sidelock_key_id", "v")]).is_err());
        assert!(judged(&[("x.y", "v")]).is_err());
    }

    #[test]
    fn connection_cannot_name_away_what_matters() {
        let facts = judged(&[
            ("connection", "close, X-Foo, Authorization, Host, x-sidelock-key-id"),
            ("x-foo", "1"),
            ("authorization", "b"),
        ])
        .unwrap();
        assert!(facts.not_forwarded.contains(&HeaderName::from_static("x-foo")));
        assert!(!facts.not_forwarded.contains(&header::AUTHORIZATION));
        let facts = judged(&[("connection", "Upgrade"), ("upgrade", "websocket")]).unwrap();
        assert!(facts.wants_upgrade);
        assert!(!judged(&[("connection", "upgrade")]).unwrap().wants_upgrade);
    }
}
