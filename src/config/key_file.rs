//! The key file: `[[key]]` blocks, strictly read.

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::client_address::networks;
use super::reader::{Reading, Section, Value};
use super::source::{Report, Source};
use super::units::Span;
use super::{ClientCertificates, Names, scopes};
use crate::credential::api_key::KeyDigest;
use crate::keys::key::{About, Ends, Key, KeyId, Mode, Previous, Standing, Title};
use crate::policy::allowlist::Allowlist;
use crate::policy::scope::{ScopeName, ScopeSet};
use crate::tls::certificate::Wanted;

/// What a key file holds.
#[derive(Debug, Default)]
pub struct KeyFile {
    /// The keys, in order.
    pub keys: Vec<Key>,
    /// `confirm_drop_to`: the number of keys that a mass removal is meant to leave.
    pub confirm_drop_to: Option<usize>,
}

/// Reads key file text: the keys if there is no mistake, the ids of blocks marked `revoked = true` even if there is, and
/// the mistakes and warnings.
pub fn parse(source: &Source, known: &Names) -> (Option<KeyFile>, Vec<KeyId>, Report) {
    let reading = Reading::new(source);
    let table = reading.parse();
    let (file, revoked) = {
        let root = reading.root(&table);
        let confirm = root.get("confirm_drop_to").and_then(|value| value.number(0, u64::from(u32::MAX)));
        let mut reader = KeyReader {
            reading: &reading,
            known,
            ids: HashMap::new(),
            digests: HashMap::new(),
            revoked: Vec::new(),
        };
        let blocks = root.sections("key");
        let none = blocks.is_empty();
        let keys: Vec<Key> = blocks.into_iter().filter_map(|section| reader.key(section)).collect();
        root.finish();
        if none {
            reading.warning(0..0, "no key is in this file: nothing that needs a key can be used", None);
        }
        let confirm_drop_to = confirm.and_then(|count| usize::try_from(count).ok());
        (KeyFile { keys, confirm_drop_to }, reader.revoked)
    };
    let report = reading.into_report();
    (Some(file).filter(|_| !report.has_errors()), revoked, report)
}

/// Refuses a key file that strangers on the machine can read or change.
///
/// # Errors
/// The mistake as a report.
pub fn check_permissions(path: &Path) -> Result<(), Report> {
    let mut report = Report::default();
    match std::fs::metadata(path) {
        Err(error) => report.file_error(path, format!("cannot be read: {error}"), None),
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o027 == 0 {
                return Ok(());
            }
            let help = format!("run: chmod 640 {}", path.display());
            let message = format!("has mode {mode:03o}: others can read it, or a group can change it");
            report.file_error(path, message, Some(&help));
        }
    }
    Err(report)
}

struct KeyReader<'r, 's> {
    reading: &'r Reading<'s>,
    known: &'r Names,
    ids: HashMap<KeyId, Range<usize>>,
    digests: HashMap<KeyDigest, Range<usize>>,
    revoked: Vec<KeyId>,
}

impl<'r, 's> KeyReader<'r, 's> {
    fn key(&mut self, section: Section<'r, 's>) -> Option<Key> {
        let id = section.required("id").and_then(|value| self.id(value));
        let title = section.required("title").and_then(|value| title(value));
        let digest = section.required("digest").and_then(|value| self.digest(value));
        let standing = self.standing(&section, id.as_ref());
        let scopes = match standing {
            Standing::Live | Standing::Revoked => section.required("scopes"),
            Standing::Decoy => section.get("scopes"),
        };
        let (scopes, scope_names) = scopes.map(|value| self.scopes(value)).unwrap_or_default();
        let created = section.get("created").and_then(|value| value.moment());
        let expires = section.get("expires").and_then(|value| value.moment());
        let allow_from =
            section.get("allow_from").map(|value| networks(value, &|_| None)).unwrap_or_default();
        let client_cert = self.client_cert(&section, standing);
        let credential = scopes::credential(&section, &self.known.credentials);
        let rate = section.get("rate").and_then(|value| value.parse());
        let mode = self.mode(&section, standing);
        let previous = self.previous(section.section("previous"));
        let about = about(&section, standing);
        section.finish();
        Some(Key {
            id: id?,
            title: title?,
            digest: digest?,
            scopes,
            scope_names: scope_names.into(),
            created,
            expires,
            allow_from: Allowlist::new(allow_from),
            client_cert,
            credential,
            rate,
            mode,
            standing,
            previous,
            about,
        })
    }

    /// `decoy` and `revoked`. What is marked as revoked is remembered whatever else is wrong.
    fn standing(&mut self, section: &Section<'r, 's>, id: Option<&KeyId>) -> Standing {
        let decoy = section.get("decoy").and_then(|value| value.truth()) == Some(true);
        let revoked = section.get("revoked").and_then(|value| value.truth()) == Some(true);
        if revoked {
            self.revoked.extend(id.cloned());
        }
        match (decoy, revoked) {
            (true, _) => Standing::Decoy,
            (false, true) => Standing::Revoked,
            (false, false) => Standing::Live,
        }
    }

    /// Whoever forgets an observed key has one without limits: each is worth a warning.
    fn mode(&self, section: &Section<'r, 's>, standing: Standing) -> Mode {
        let Some(value) = section.get("mode") else { return Mode::Enforce };
        match value.text() {
            Some("enforce") | None => Mode::Enforce,
            Some("observe") => {
                if standing == Standing::Live {
                    let help = "what its scopes, its allow_from and its rate would refuse passes, and is counted in \
                                sidelock_observed_total; delete this line to enforce them";
                    let message = "this key is observed: its own limits are not enforced";
                    self.reading.warning(value.span(), message, Some(help.to_owned()));
                }
                Mode::Observe
            }
            Some(_) => {
                let help = "'enforce' refuses what the key may not do, 'observe' counts it and lets it pass";
                let message = "expected 'enforce' or 'observe'";
                self.reading.error(value.span(), message, Some(help.to_owned()));
                Mode::Enforce
            }
        }
    }

    fn client_cert(&self, section: &Section<'r, 's>, standing: Standing) -> Option<Box<Wanted>> {
        let value = section.get("client_cert")?;
        if self.known.certificates == ClientCertificates::NotAsked && standing == Standing::Live {
            let help = "give a [[listener]] with TLS a 'client_ca'".to_owned();
            let message = "no listener asks for client certificates: every request with this key is refused";
            self.reading.warning(value.span(), message, Some(help));
        }
        value.parse().map(Box::new)
    }

    /// `previous = { digest = "…", until = … }` or `{ digest = "…", overlap = "24h" }`.
    fn previous(&mut self, section: Section<'r, 's>) -> Option<Previous> {
        if !section.is_present() {
            return None;
        }
        let digest = section.required("digest").and_then(|value| self.digest(value));
        let until = section.get("until");
        let overlap = section.get("overlap");
        let ends = match (until, overlap) {
            (Some(until), None) => until.moment().map(Ends::At),
            (None, Some(overlap)) => overlap.parse().map(|Span(overlap)| Ends::AfterFirstUse(overlap)),
            (None, None) | (Some(_), Some(_)) => {
                let help = "`until` is the moment at which the old key stops working, `overlap` the time from the \
                            first use of the new one, as in overlap = \"24h\"";
                let message = "expected one of 'until' and 'overlap'";
                self.reading.error(section.span(), message, Some(help.to_owned()));
                None
            }
        };
        section.finish();
        Some(Previous { digest: digest?, ends: ends? })
    }

    fn id(&mut self, value: Value<'r, 's>) -> Option<KeyId> {
        let Some(id) = KeyId::new(value.text()?) else {
            self.reading.error(value.span(), "expected an id of 1 to 64 letters, digits and . _ -", None);
            return None;
        };
        let reserved = ["unknown", "none", "other"].contains(&id.as_str());
        if reserved {
            self.reading.error(value.span(), "this id has a meaning of its own in metrics", None);
        }
        if let Some(first) = self.ids.insert(id.clone(), value.span()) {
            self.reading.error(value.span(), "a key with this id stands above", Some(self.at(first)));
        }
        Some(id)
    }

    fn digest(&mut self, value: Value<'r, 's>) -> Option<KeyDigest> {
        let digest: KeyDigest = value.parse()?;
        if let Some(first) = self.digests.insert(digest, value.span()) {
            self.reading.error(value.span(), "a key with this digest stands above", Some(self.at(first)));
        }
        Some(digest)
    }

    fn at(&self, span: Range<usize>) -> String {
        format!("the other one is in line {}", self.reading.line_of(span.start))
    }

    fn scopes(&self, value: Value<'r, 's>) -> (ScopeSet, String) {
        let mut ids = Vec::new();
        let mut names: Vec<&str> = Vec::new();
        for item in value.items() {
            let Some(name) = item.text() else { continue };
            match self.known.scopes.id(name) {
                Some(id) => {
                    ids.push(id);
                    names.push(name);
                }
                None => {
                    let known = self.known.scopes.names().iter();
                    item.unknown("scope", name, known.map(ScopeName::as_str));
                }
            }
        }
        (ScopeSet::of(ids), names.join(" "))
    }
}

/// What is there for people. A revocation that is told but not made is worth a warning: the key still opens.
fn about(section: &Section<'_, '_>, standing: Standing) -> Option<Box<About>> {
    let about = About {
        owner: section.get("owner").and_then(line),
        note: section.get("note").and_then(|value| value.text()).map(Box::from),
        reason: section.get("reason").and_then(line),
        rotated: section.get("rotated").and_then(|value| value.moment()),
        revoked_at: section.get("revoked_at").and_then(|value| value.moment()),
        revoked_reason: section.get("revoked_reason").and_then(line),
    };
    let told = section.get("revoked_at").or_else(|| section.get("revoked_reason"));
    if let Some(told) = told.filter(|_| standing == Standing::Live) {
        let help = "add 'revoked = true', or delete this line if the key is meant to work".to_owned();
        section.reading().warning(told.span(), "without 'revoked = true' this key is in use", Some(help));
    }
    (about != About::default()).then(|| Box::new(about))
}

/// A text that stands in tables and logs: one line.
fn line(value: Value<'_, '_>) -> Option<Box<str>> {
    let text = value.text()?;
    if is_line(text) {
        return Some(text.into());
    }
    value.reading().error(
        value.span(),
        "expected a text of 1 to 200 characters without control characters",
        None,
    );
    None
}

/// Whether a text can be an owner or a reason: 1 to 200 characters, none of them a control character.
pub fn is_line(text: &str) -> bool {
    (1..=200).contains(&text.chars().take(201).count()) && !text.chars().any(char::is_control)
}

fn title(value: Value<'_, '_>) -> Option<Title> {
    let title = Title::new(value.text()?);
    if title.is_none() {
        value.reading().error(
            value.span(),
            "expected a title of 1 to 200 characters without control characters",
            None,
        );
    }
    title
}
