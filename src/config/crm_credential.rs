//! `[upstream.credential]` and `[upstream.credentials.<name>]`: what Sidelock shows the CRM. A pack knows where it goes.

use http::{HeaderName, HeaderValue};

use super::Surroundings;
use super::reader::Section;
use crate::policy::crm_credential::{CredentialId, CredentialNames, MOST_CREDENTIALS};
use crate::policy::pack::{Form, Injection};
use crate::request_head::fields::{Kind, kind_of};

/// A credential of the CRM's own that Sidelock adds.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// The header.
    pub header: HeaderName,
    /// Its whole value, marked as sensitive.
    pub value: HeaderValue,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credential({}: …)", self.header)
    }
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// `[upstream.credential]`: where neither key nor scope names another.
    usual: Option<Credential>,
    names: CredentialNames,
    /// In the order of `names`.
    named: Vec<Credential>,
}

impl Credentials {
    pub(super) fn read(
        upstream: &Section<'_, '_>,
        around: &Surroundings<'_>,
        known: Option<&Injection>,
    ) -> Self {
        let usual = credential(upstream.section("credential"), around, known);
        let section = upstream.section("credentials");
        let sections = section.named_sections();
        if sections.len() > MOST_CREDENTIALS {
            let message = format!("over {MOST_CREDENTIALS} credentials");
            section.reading().error(section.span(), message, None);
            return Self::default();
        }
        let (mut names, mut named) = (Vec::new(), Vec::new());
        for (name, span, section) in sections {
            let fits = (1..=64).contains(&name.len())
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
            if !fits {
                let help = "1 to 64 letters, digits and . _ -".to_owned();
                section.reading().error(span, "not a name for a credential", Some(help));
            }
            // Names are known even where something is wrong with the rest: all other mistakes are shown too.
            names.push(name.into());
            named.extend(credential(section, around, known));
        }
        Self { usual, names: CredentialNames::new(names), named }
    }

    /// The names.
    pub const fn names(&self) -> &CredentialNames {
        &self.names
    }

    /// The one of this number, or the usual one.
    pub fn get(&self, id: Option<CredentialId>) -> Option<&Credential> {
        match id {
            Some(id) => self.named.get(id.position()),
            None => self.usual.as_ref(),
        }
    }

    /// The headers that they are sent in.
    pub fn headers(&self) -> impl Iterator<Item = &HeaderName> {
        self.usual.iter().chain(&self.named).map(|credential| &credential.header)
    }
}

fn credential(
    section: Section<'_, '_>,
    around: &Surroundings<'_>,
    known: Option<&Injection>,
) -> Option<Credential> {
    if !section.is_present() {
        return None;
    }
    let injection = injection(&section, known);
    let secret = section.required("secret").and_then(|value| around.secret(value));
    section.finish();
    let injection = injection?;
    let mut value = HeaderValue::from_bytes(injection.value(&secret?).expose()).ok()?;
    value.set_sensitive(true);
    Some(Credential { header: injection.header, value })
}

/// `header`, `prefix` and `basic`; without a header of its own, as `known` says.
pub(super) fn injection(section: &Section<'_, '_>, known: Option<&Injection>) -> Option<Injection> {
    let prefix = section.get("prefix").and_then(|value| value.text()).map(Box::from);
    let form = section.get("basic").map(|value| value.parse::<Form>());
    let (header, usual_prefix, usual_form) = match (section.get("header"), known) {
        (None, Some(known)) => (Some(known.header.clone()), known.prefix.clone(), known.form.clone()),
        _ => (section.required("header").and_then(header), "".into(), Form::Plain),
    };
    Some(Injection {
        header: header?,
        prefix: prefix.unwrap_or(usual_prefix),
        form: match form {
            Some(form) => form?,
            None => usual_form,
        },
    })
}

fn header(value: super::reader::Value<'_, '_>) -> Option<HeaderName> {
    let header = value.parse::<HeaderName>()?;
    let allowed = kind_of(&header.as_str().replace('_', "-")) == Kind::Plain && header != http::header::HOST;
    if !allowed {
        value.reading().error(value.span(), "this header is Sidelock's or the connection's own", None);
    }
    allowed.then_some(header)
}
