//! What Sidelock knows about a CRM: which requests its scopes stand for, what no key may reach, where its own credential
//! goes. Packs are data: `config/crm/<name>.toml`, or a file of the user's own in the same form.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderName;

use super::blank::Blank;
use super::path::PathPattern;
use super::scope::{Rule, ScopeName};
use crate::credential::places::Place;
use crate::secret::Secret;

/// One CRM.
#[derive(Clone, Debug, PartialEq)]
pub struct Pack {
    /// Its name, as in `crm = "chatwoot"`.
    pub name: Box<str>,
    /// The versions that the facts are about.
    pub version: Box<str>,
    /// What keys can be allowed to do.
    pub scopes: Vec<(ScopeName, Vec<Rule>)>,
    /// Named sets of scopes.
    pub roles: Vec<Role>,
    /// What no key may ever reach.
    pub never: Vec<Rule>,
    /// Where clients of this CRM put their credential; empty for the usual places.
    pub present: Vec<Place>,
    /// Further headers by which this CRM would believe someone.
    pub strip: Vec<HeaderName>,
    /// How a credential for the CRM is sent; `None` where it differs from one installation to another.
    pub injection: Option<Injection>,
    /// Paths of its human interface, which has its own login.
    pub public: Vec<PathPattern>,
    /// Fields to take out of replies.
    pub blank: Vec<Blank>,
}

/// A named set of scopes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// Its name, as in `--role read_only`.
    pub name: ScopeName,
    /// The scopes; the pack has all of them.
    pub scopes: Vec<ScopeName>,
}

/// How a credential for a CRM is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// The header.
    pub header: HeaderName,
    /// What stands before it, such as `Bearer `.
    pub prefix: Box<str>,
    /// What becomes of the secret.
    pub form: Form,
}

/// What becomes of the secret in the header's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// It stands there as it is.
    Plain,
    /// Base64 of a text around it (RFC 7617): `{secret}:X` where the key is the user.
    Basic {
        /// Before the secret.
        before: Box<str>,
        /// After it.
        after: Box<str>,
    },
}

/// Not a text around a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected '{{secret}}' once, as in '{{secret}}:X' for a key that is the user, or '{{secret}}' for 'user:password'"
)]
pub struct FormError;

impl std::str::FromStr for Form {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let (before, after) = text.split_once("{secret}").ok_or(FormError)?;
        let plain =
            |text: &str| !text.contains(['{', '}']) && text.bytes().all(|byte| (0x20..=0x7e).contains(&byte));
        if plain(before) && plain(after) {
            Ok(Self::Basic { before: before.into(), after: after.into() })
        } else {
            Err(FormError)
        }
    }
}

impl Injection {
    /// The header's value for a secret.
    pub fn value(&self, secret: &Secret) -> Secret {
        let mut out = self.prefix.as_bytes().to_vec();
        match &self.form {
            Form::Plain => out.extend_from_slice(secret.expose()),
            Form::Basic { before, after } => {
                let text = Secret::new([before.as_bytes(), secret.expose(), after.as_bytes()].concat());
                let encoded = Secret::new(STANDARD.encode(text.expose()));
                out.extend_from_slice(encoded.expose());
            }
        }
        Secret::new(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_crm_gets() {
        let value = |prefix: &str, form: Form| {
            let injection = Injection { header: http::header::AUTHORIZATION, prefix: prefix.into(), form };
            String::from_utf8(injection.value(&Secret::new("key")).expose().to_vec()).unwrap()
        };
        assert_eq!(value("Token token=", Form::Plain), "Token token=key");
        // RFC 7617 section 2: base64 of the user, a colon and the password.
        assert_eq!(value("Basic ", "{secret}:X".parse().unwrap()), "Basic a2V5Olg=");
        assert_eq!(value("Basic ", "{secret}".parse().unwrap()), "Basic a2V5");
        for bad in ["", "x", "{secret}{secret}", "{secret}:{x}", "{secret}:\u{e9}"] {
            assert_eq!(bad.parse::<Form>(), Err(FormError), "{bad}");
        }
    }
}
