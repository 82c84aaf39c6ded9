//! A judgement told step by step, in the gate's own order: what passed, and by which rule, up to what refused.
//!
//! The verdict is the gate's; here it is only put into words. [`decided_at`] names the step of each refusal.

use http::Method;

use super::court::{Asker, Court, Judgement, Missing, Question, Shown, Verdict, Whose};
use super::hidden::HiddenRefusal;
use super::step::{Finding, Name, Step, decided_at};
use crate::clock::WallTime;
use crate::config::ClientCertificates;
use crate::denial::{Denial, Observed};
use crate::gate::{Access, Webhook};
use crate::keys::key::{Mode, Standing};
use crate::keys::set::Holder;
use crate::outcome::Caller;
use crate::policy::allowlist::Allowlist;
use crate::policy::scope::{Coverage, Covered, Rule, ScopeName};
use crate::tls::certificate::Wanted;

/// Most networks of a list that are named.
const MOST_NAMED: usize = 8;

/// The steps of `judgement`, up to the one that refused.
pub fn walk(court: &Court, question: &Question<'_>, judgement: &Judgement) -> Vec<Step> {
    let walk = Walk { court, question, judgement };
    let last = walk.refused_at();
    let mut steps = Vec::new();
    let applies = |name: &&Name| **name != Name::Certificate || walk.needed().is_some();
    for name in walk.way().iter().filter(applies) {
        let finding = walk.finding(*name, last);
        steps.push(Step { name: *name, finding, by: walk.by(*name, finding) });
        if finding == Finding::Refused {
            break;
        }
    }
    steps
}

pub(super) struct Walk<'a> {
    pub(super) court: &'a Court,
    pub(super) question: &'a Question<'a>,
    pub(super) judgement: &'a Judgement,
}

impl<'a> Walk<'a> {
    pub(super) fn path(&self) -> &'a str {
        self.question.path()
    }

    pub(super) fn webhook(&self) -> Option<&'a Webhook> {
        self.judgement.trail.webhook.as_deref()
    }

    /// Whoever was proved, or would have been.
    pub(super) fn holder(&self) -> Option<&'a Holder> {
        match &self.judgement.trail.caller {
            Caller::Key(holder) => Some(holder),
            Caller::Keyless | Caller::Unknown => None,
        }
    }

    /// The client certificate that the key needs.
    fn needed(&self) -> Option<&'a Wanted> {
        self.holder()?.key.client_cert.as_deref()
    }

    /// The steps that such a request takes.
    fn way(&self) -> &'static [Name] {
        use Name::{
            Address, Body, Certificate, Credential, Key, KeyAddress, Method, Proof, Rate, Request, Route,
            Scope,
        };
        let route = self.court.gate().route_of(self.path());
        if self.webhook().is_some() {
            &[Request, Route, Address, Method, Proof]
        } else if route.is_some_and(|route| route.access == Access::Public) {
            &[Request, Route, Address]
        } else if self.needs_body() || self.hides_by_body() {
            &[Request, Route, Address, Credential, Key, Rate, KeyAddress, Certificate, Scope, Body]
        } else {
            &[Request, Route, Address, Credential, Key, Rate, KeyAddress, Certificate, Scope]
        }
    }

    fn refused_at(&self) -> Option<Name> {
        let Verdict::Refused(denial) = self.judgement.verdict else { return None };
        let at = decided_at(denial);
        let is_delivery = self.webhook().is_some();
        // Some refusals are made at two steps.
        Some(if denial == Denial::MethodNotAllowed && is_delivery && !self.is_never_forwarded() {
            Name::Method
        } else if at == Name::Address && !is_delivery && self.is_in_use() {
            Name::KeyAddress
        } else if denial == Denial::ScopeMissing && self.needs_body() {
            Name::Body
        } else if let Some(refusal) = self.hidden_refusal() {
            refusal.at
        } else {
            at
        })
    }

    fn is_never_forwarded(&self) -> bool {
        matches!(*self.question.method, Method::CONNECT | Method::TRACE)
    }

    /// Where the gate's own list refuses, no key is looked at, but for decoys.
    fn is_in_use(&self) -> bool {
        self.holder().is_some_and(|holder| holder.key.standing == Standing::Live)
    }

    /// True where the key's scopes leave it to the body.
    pub(super) fn needs_body(&self) -> bool {
        matches!(self.coverage(), Some(Coverage::NeedsBody))
    }

    /// What method and path grant to the key.
    fn coverage(&self) -> Option<Coverage<'a>> {
        let holder = self.holder()?;
        Some(self.court.gate().scopes.covering(&holder.key.scopes, self.question.method, self.path()))
    }

    fn finding(&self, name: Name, last: Option<Name>) -> Finding {
        let observed = match self.judgement.trail.observed {
            Some(Observed::Address) => Some(Name::KeyAddress),
            Some(Observed::Scope) if self.needs_body() => Some(Name::Body),
            Some(Observed::Scope) => Some(Name::Scope),
            Some(Observed::ScopeUnread) => Some(Name::Body),
            Some(Observed::Rate) | None => None,
        };
        let is_open = self.judgement.verdict == Verdict::Open(Missing::Body);
        let is_waived = matches!(self.coverage(), Some(Coverage::Uncovered));
        if last == Some(name) {
            Finding::Refused
        } else if name == Name::Scope && is_waived {
            // Only for a key that is observed does anything come after that.
            Finding::Observed
        } else if observed == Some(name) {
            Finding::Observed
        } else if matches!(name, Name::Rate | Name::Proof)
            || (name == Name::Body && is_open)
            || (name == Name::Certificate && matches!(self.question.shown, Shown::AsNeeded))
        {
            Finding::NotJudged
        } else {
            Finding::Passed
        }
    }

    fn by(&self, name: Name, finding: Finding) -> String {
        let refused = finding == Finding::Refused;
        match name {
            Name::Request => self.by_request(refused),
            Name::Route => self.by_route(),
            Name::Address => {
                let own = self.webhook().map(|webhook| &webhook.allow_from).filter(|list| !list.is_open());
                let gate = &self.court.gate().allow_from;
                let whose =
                    if own.is_some() { "the webhook's allow_from" } else { "[client_address] allow_from" };
                self.by_list(own.unwrap_or(gate), whose)
            }
            Name::Method => self.by_method(),
            Name::Credential if refused => "no credential is presented, or not one alone".to_owned(),
            Name::Credential => "exactly one credential is presented".to_owned(),
            Name::Key => self.by_key(),
            Name::Rate => self.by_rate(),
            Name::KeyAddress => self
                .holder()
                .map_or_else(String::new, |it| self.by_list(&it.key.allow_from, "the key's allow_from")),
            Name::Certificate => self.by_certificate(refused),
            Name::Scope => self.by_scope(),
            Name::Body => self.by_body(finding),
            Name::Proof => self.by_proof(),
        }
    }

    fn by_request(&self, refused: bool) -> String {
        match self.judgement.verdict {
            Verdict::Refused(Denial::Ambiguous(what)) if refused => {
                format!("it is ambiguous: {}", what.word())
            }
            Verdict::Refused(denial) if refused => denial.title().to_owned(),
            Verdict::Refused(_) | Verdict::Allowed { .. } | Verdict::Open(_) => {
                "method and target read one way only; its other headers are not known here".to_owned()
            }
        }
    }

    fn by_route(&self) -> String {
        if let Some(webhook) = self.webhook() {
            return format!("the webhook '{}' has the path {}", webhook.name, webhook.path);
        }
        match self.court.gate().route_of(self.path()) {
            Some(route) => {
                let access = match route.access {
                    Access::Public => "public: no key is needed",
                    Access::Key => "for holders of keys",
                };
                format!("the route '{}' with the path {} is {access}", route.stats.name(), route.pattern)
            }
            None => "no [[route]] is about it: it needs a key".to_owned(),
        }
    }

    fn by_list(&self, list: &Allowlist, whose: &str) -> String {
        if list.is_open() {
            return format!("{whose} is not set: every address may call");
        }
        let from = self.question.from.to_canonical();
        let mut nets = list.networks().nets();
        if let Some(net) = list.networks().nets().find(|net| net.contains(&from)) {
            return format!("{from} is in {net} of {whose}");
        }
        let named: Vec<String> = nets.by_ref().take(MOST_NAMED).map(|net| net.to_string()).collect();
        let more = if nets.next().is_some() { ", …" } else { "" };
        format!("{from} is in no network of {whose}: {}{more}", named.join(", "))
    }

    fn by_method(&self) -> String {
        let methods = self.webhook().map(|webhook| webhook.methods.iter().map(Method::as_str));
        format!("its deliveries come with {}", methods.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }

    fn by_key(&self) -> String {
        let Some(Holder { key, .. }) = self.holder() else {
            return match self.question.asker {
                Asker::Key(id) => format!("no key in the key file has the id {}", id.as_str()),
                Asker::Stranger | Asker::Unknown => "no key in the key file has this digest".to_owned(),
            };
        };
        let now = self.question.at;
        let about = key.about.as_deref().cloned().unwrap_or_default();
        let state = match (key.standing, key.expires) {
            (Standing::Decoy, _) => {
                "is a decoy: whoever presents it is told that nobody knows it, and counted".to_owned()
            }
            (Standing::Revoked, _) => {
                let when = about.revoked_at.map_or_else(String::new, |at| format!(" at {}", at.rfc3339()));
                let why = about.revoked_reason.map_or_else(String::new, |why| format!(" ({why})"));
                format!("was revoked{when}{why}")
            }
            (Standing::Live, Some(expires)) if expires <= now => format!("expired at {}", expires.rfc3339()),
            (Standing::Live, expires) => {
                let until = expires.map_or_else(|| "never expires".to_owned(), |at| until(at, now));
                let mode = match key.mode {
                    Mode::Enforce => "",
                    Mode::Observe => "; its own limits are only observed",
                };
                format!("is in use, and {until}{mode}")
            }
        };
        format!("key {} ('{}') {state}", key.id.as_str(), key.title.as_str())
    }

    fn by_rate(&self) -> String {
        let Some(holder) = self.holder() else { return String::new() };
        let (rate, whose) = self.court.rate_of(&holder.key.id);
        let whose = match whose {
            Whose::Own => "the key's own",
            Whose::Default => "[limits] per_key",
        };
        let failures = self.court.failure_rate();
        format!(
            "{rate} ({whose}): only the running gateway knows what is left of it, and of {failures} refusals per address"
        )
    }

    fn by_certificate(&self, refused: bool) -> String {
        let needed = self.needed().map_or_else(String::new, |wanted| format!("the key needs {wanted}"));
        let shown = match (self.question.shown, refused) {
            _ if self.court.certificates == ClientCertificates::NotAsked => {
                "and no listener asks clients for one"
            }
            (Shown::AsNeeded, _) => "and is judged as if that had been shown: it is not known what was",
            (Shown::Nothing, _) => "and no client certificate is shown",
            (Shown::This(_), true) => "and another client certificate is shown",
            (Shown::This(_), false) => "which is shown; that a client_ca signed it is taken for granted here",
        };
        format!("{needed}, {shown}")
    }

    fn by_scope(&self) -> String {
        let gate = self.court.gate();
        if let Some(rule) = gate.scopes.closed_by(self.question.method, self.path())
            && matches!(self.judgement.verdict, Verdict::Refused(Denial::ScopeNever))
        {
            return format!("'{rule}' is closed to every key");
        }
        if let Some(HiddenRefusal { at: Name::Scope, why }) = self.hidden_refusal() {
            return why;
        }
        if self.needs_body() {
            return "its scopes leave it to what the body asks for".to_owned();
        }
        if let Some(Coverage::Covered(Covered { scope, .. })) = self.coverage()
            && let Some((_, rule)) = self.rules().into_iter().find(|(name, _)| *name == scope)
        {
            return format!("'{rule}' of the scope '{}' covers it", scope.as_str());
        }
        match self.holder().map(|holder| &*holder.key.scope_names) {
            Some("") | None => "it has no scopes".to_owned(),
            Some(names) => format!("no rule of its scopes is about it: {names}"),
        }
    }

    /// Rules about this request whose scopes the key has, as they are asked: those that need no body first.
    fn rules(&self) -> Vec<(&'a ScopeName, &'a Rule)> {
        let scopes = &self.court.gate().scopes;
        let Some(holder) = self.holder() else { return Vec::new() };
        let held = |name: &ScopeName| scopes.id(name.as_str()).is_some_and(|id| holder.key.scopes.has(id));
        let mut rules = scopes.rules_about(self.question.method, self.path());
        rules.retain(|(name, _)| held(name));
        rules.sort_by_key(|(_, rule)| rule.operation.is_some());
        rules
    }

    fn by_body(&self, finding: Finding) -> String {
        if let Some(HiddenRefusal { at: Name::Body, why }) = self.hidden_refusal() {
            return why;
        }
        match self.by_hidden(finding) {
            Some(hidden) if !self.needs_body() => hidden,
            Some(hidden) => format!("{}; {hidden}", self.by_operation(finding)),
            None => self.by_operation(finding),
        }
    }

    fn by_operation(&self, finding: Finding) -> String {
        let rules: Vec<String> = self
            .rules()
            .into_iter()
            .map(|(name, rule)| format!("'{rule}' of the scope '{}'", name.as_str()))
            .collect();
        let rules = rules.join(", ");
        match (&self.judgement.verdict, finding) {
            (Verdict::Allowed { scope: Some(scope), .. }, _) => {
                format!("it asks for what the scope '{}' allows: {rules}", scope.as_str())
            }
            (Verdict::Refused(denial), _) if *denial != Denial::ScopeMissing => denial.title().to_owned(),
            (_, Finding::NotJudged) => format!("it must ask for what these allow: {rules}"),
            (_, _) => format!("it asks for something else than: {rules}"),
        }
    }

    fn by_proof(&self) -> String {
        let name = self.webhook().map_or("", |webhook| &*webhook.name);
        format!("the sender of '{name}' proves each delivery by its secret or signature; no key is asked for")
    }
}

fn until(expires: WallTime, now: WallTime) -> String {
    let days = expires.since(now).as_secs() / 86_400;
    format!("expires at {} (in {days} days)", expires.rfc3339())
}
