//! Scopes: named sets of `METHODS /path/pattern [operation]` rules, compiled into one tree.
//!
//! `*` stands for one segment that is not empty, `**` (only at the end) for any number of segments, none included. All
//! else is literal and compared byte for byte, which is safe because [`request_head`](crate::request_head) lets only one
//! spelling of a path through. `GET` covers `HEAD` (RFC 9110 section 9.3.2). `ANY` stands for every method. What only the
//! body tells apart is an [operation](super::operation) behind the path.

use std::sync::Arc;

use http::Method;

use super::crm_credential::CredentialId;
use super::never::Never;
use super::operation::{Message, Operation};
use super::path::{PathPattern, PathTree, PatternError};
use crate::denial::Denial;

/// Most scopes in one configuration.
pub const MOST_SCOPES: usize = 1024;

/// Number of a scope, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScopeId(u16);

/// The name of a scope: `[a-z0-9_.:-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeName(Arc<str>);

/// A set of scopes: what one key has, or what one request would be granted by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeSet {
    /// The first 64, which are nearly always all of them: beside the key itself.
    first: u64,
    /// The others.
    more: Box<[u64]>,
}

/// One `METHODS /path/pattern [operation]`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub(super) methods: Methods,
    pub(super) path: PathPattern,
    /// What the body must ask for; `None` where method and path tell all.
    pub operation: Option<Operation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Methods {
    Any,
    These(Vec<Method>),
}

impl ScopeName {
    /// Checks the characters.
    pub fn new(text: &str) -> Option<Self> {
        let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b':' | b'-');
        ((1..=64).contains(&text.len()) && text.bytes().all(fits)).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ScopeSet {
    /// The set of `ids`.
    pub fn of(ids: impl IntoIterator<Item = ScopeId>) -> Self {
        let (mut first, mut more): (u64, Vec<u64>) = (0, Vec::new());
        for ScopeId(id) in ids {
            let bit = 1 << (id % 64);
            let Some(word) = usize::from(id / 64).checked_sub(1) else {
                first |= bit;
                continue;
            };
            if more.len() <= word {
                more.resize(word + 1, 0);
            }
            if let Some(slot) = more.get_mut(word) {
                *slot |= bit;
            }
        }
        Self { first, more: more.into_boxed_slice() }
    }

    /// Membership.
    pub fn has(&self, ScopeId(id): ScopeId) -> bool {
        let word = match usize::from(id / 64).checked_sub(1) {
            None => self.first,
            Some(word) => self.more.get(word).copied().unwrap_or(0),
        };
        word >> (id % 64) & 1 == 1
    }
}

impl std::str::FromStr for Rule {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let mut words = text.split(' ').filter(|word| !word.is_empty());
        let (Some(methods), Some(path), operation, None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(PatternError::Shape);
        };
        if operation.is_some() && !path.starts_with('/') {
            return Err(PatternError::Shape);
        }
        let methods = match methods {
            "ANY" => Methods::Any,
            list => Methods::These(list.split(',').map(method).collect::<Result<_, _>>()?),
        };
        let operation = operation.map(str::parse).transpose().map_err(|_| PatternError::Operation)?;
        Ok(Self { methods, path: path.parse()?, operation })
    }
}

impl Rule {
    /// True if it is about this method and path; the body is not asked.
    pub fn is_about(&self, method: &Method, path: &str) -> bool {
        self.methods.cover(method) && self.path.matches(path)
    }
}

fn method(text: &str) -> Result<Method, PatternError> {
    let upper = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    let forwarded = !matches!(text, "CONNECT" | "TRACE");
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if upper && forwarded => Ok(method),
        Ok(_) | Err(_) => Err(PatternError::Method),
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.methods {
            Methods::Any => f.write_str("ANY")?,
            Methods::These(list) => {
                let names: Vec<&str> = list.iter().map(Method::as_str).collect();
                f.write_str(&names.join(","))?;
            }
        }
        write!(f, " {}", self.path)?;
        self.operation.as_ref().map_or(Ok(()), |operation| write!(f, " {operation}"))
    }
}

impl Methods {
    pub(super) fn cover(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::These(list) => {
                list.contains(method) || (*method == Method::HEAD && list.contains(&Method::GET))
            }
        }
    }
}

/// All scopes of a configuration, and what no scope can grant.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    names: Vec<ScopeName>,
    /// In the order of `names`: as whom the CRM is asked, where a scope says.
    credentials: Vec<Option<CredentialId>>,
    tree: PathTree<Grant>,
    never: Never,
}

/// What a rule grants.
#[derive(Clone, Debug)]
struct Grant {
    rule: Rule,
    scope: ScopeId,
    reach: Reach,
}

/// Whether a rule covers paths that may be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// It covers none.
    Clear,
    /// Each path must be looked at.
    Doubtful,
}

/// What allows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered<'s> {
    /// The scope.
    pub scope: &'s ScopeName,
    /// As whom the CRM is asked, if the scope says.
    pub credential: Option<CredentialId>,
}

/// What method and path say about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Coverage<'s> {
    /// A scope allows it, whatever its body.
    Covered(Covered<'s>),
    /// A scope may allow it: [`Scopes::covering_message`] tells, once the body is there.
    NeedsBody,
    /// No scope of the key is about it.
    Uncovered,
    /// No scope of any key can allow it.
    Never,
}

impl Scopes {
    /// No scopes yet, and what none of them will be able to grant.
    pub fn closed_to(rules: impl IntoIterator<Item = Rule>) -> Self {
        let mut never = Never::default();
        rules.into_iter().for_each(|rule| never.add(&rule));
        Self { never, ..Self::default() }
    }

    /// Adds a scope, or more rules to one that has the same name.
    ///
    /// Scopes over [`MOST_SCOPES`] grant nothing; the configuration refuses them with a message.
    pub fn add(
        &mut self,
        name: ScopeName,
        rules: impl IntoIterator<Item = Rule>,
        credential: Option<CredentialId>,
    ) -> ScopeId {
        let id = self.id(name.as_str()).unwrap_or_else(|| {
            self.names.push(name);
            self.credentials.push(credential);
            ScopeId(u16::try_from(self.names.len() - 1).unwrap_or(u16::MAX))
        });
        for rule in rules {
            let reach = if self.never.may_meet(&rule.path) { Reach::Doubtful } else { Reach::Clear };
            let path = rule.path.clone();
            self.tree.insert(&path, Grant { rule, scope: id, reach });
        }
        id
    }

    /// The scope of that name.
    pub fn id(&self, name: &str) -> Option<ScopeId> {
        let at = self.names.iter().position(|known| known.as_str() == name)?;
        u16::try_from(at).ok().map(ScopeId)
    }

    /// All names, in the order of the configuration.
    pub fn names(&self) -> &[ScopeName] {
        &self.names
    }

    /// What method and path say for a key with these scopes.
    pub fn covering(&self, held: &ScopeSet, method: &Method, path: &str) -> Coverage<'_> {
        let (mut found, mut depends) = (None, false);
        self.tree.any(path, &mut |grant| {
            let fits = held.has(grant.scope) && grant.rule.methods.cover(method);
            let covers = fits && grant.rule.operation.is_none();
            if covers {
                found = Some((grant.scope, grant.reach));
            }
            depends |= fits;
            covers
        });
        if !matches!(found, Some((_, Reach::Clear))) && self.never.has(method, path) {
            return Coverage::Never;
        }
        match found.and_then(|(id, _)| self.covered(id)) {
            Some(covered) => Coverage::Covered(covered),
            None if depends => Coverage::NeedsBody,
            None => Coverage::Uncovered,
        }
    }

    /// The scope among `held` that covers a request of which the whole is known.
    ///
    /// # Errors
    /// [`Denial::ScopeMissing`] or [`Denial::ScopeNever`].
    pub fn covering_message(
        &self,
        held: &ScopeSet,
        path: &str,
        message: &Message<'_>,
    ) -> Result<Covered<'_>, Denial> {
        match self.covering(held, message.method, path) {
            Coverage::Covered(covered) => return Ok(covered),
            Coverage::NeedsBody => {}
            Coverage::Uncovered => return Err(Denial::ScopeMissing),
            Coverage::Never => return Err(Denial::ScopeNever),
        }
        let mut found = None;
        self.tree.any(path, &mut |grant| {
            let fits = held.has(grant.scope) && grant.rule.methods.cover(message.method);
            let covers =
                fits && grant.rule.operation.as_ref().is_some_and(|operation| operation.is_asked_by(message));
            if covers {
                found = Some(grant.scope);
            }
            covers
        });
        found.and_then(|id| self.covered(id)).ok_or(Denial::ScopeMissing)
    }

    /// Every rule about a method and path with its scope, in the order in which they are asked.
    pub fn rules_about<'s>(&'s self, method: &Method, path: &str) -> Vec<(&'s ScopeName, &'s Rule)> {
        let mut found = Vec::new();
        self.tree.each(path, &mut |grant: &'s Grant| {
            let ScopeId(id) = grant.scope;
            let name = self.names.get(usize::from(id)).filter(|_| grant.rule.methods.cover(method));
            found.extend(name.map(|name| (name, &grant.rule)));
        });
        found
    }

    /// The rule that closes a path to every key.
    pub fn closed_by(&self, method: &Method, path: &str) -> Option<&Rule> {
        self.never.find(method, path)
    }

    fn covered(&self, ScopeId(id): ScopeId) -> Option<Covered<'_>> {
        let at = usize::from(id);
        let scope = self.names.get(at)?;
        Some(Covered { scope, credential: self.credentials.get(at).copied().flatten() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(rules: &[(&str, &[&str])]) -> Scopes {
        let mut scopes = Scopes::default();
        for (name, rules) in rules {
            let rules = rules.iter().map(|rule| rule.parse().unwrap());
            scopes.add(ScopeName::new(name).unwrap(), rules, None);
        }
        scopes
    }

    fn allowed(scopes: &Scopes, held: &[&str], method: &str, path: &str) -> bool {
        let held = ScopeSet::of(held.iter().map(|name| scopes.id(name).unwrap()));
        matches!(scopes.covering(&held, &method.parse().unwrap(), path), Coverage::Covered(_))
    }

    #[test]
    fn rules_match_whole_segments() {
        let all = scopes(&[
            ("read", &["GET /api/messages/**", "GET /api/tickets/*"]),
            ("write", &["POST,PATCH /api/tickets/*/notes", "ANY /hooks"]),
        ]);
        for (held, method, path, expect) in [
            ("read", "GET", "/api/messages", true),
            ("read", "GET", "/api/messages/", true),
            ("read", "HEAD", "/api/messages/1/2/3", true),
            ("read", "POST", "/api/messages", false),
            ("read", "GET", "/api/messagesx", false),
            ("read", "GET", "/api/tickets/7", true),
            ("read", "GET", "/api/tickets", false),
            ("read", "GET", "/api/tickets/", false),
            ("read", "GET", "/api/tickets/7/x", false),
            ("read", "GET", "/API/messages", false),
            ("read", "POST", "/api/tickets/7/notes", false),
            ("write", "POST", "/api/tickets/7/notes", true),
            ("write", "PATCH", "/api/tickets/7/notes", true),
            ("write", "GET", "/api/tickets/7/notes", false),
            ("write", "PURGE", "/hooks", true),
            ("write", "GET", "/", false),
        ] {
            assert_eq!(allowed(&all, &[held], method, path), expect, "{held} {method} {path}");
        }
        assert!(!allowed(&all, &[], "GET", "/api/messages"));
        assert!(allowed(&all, &["read", "write"], "POST", "/api/tickets/7/notes"));
    }

    #[test]
    fn a_literal_that_leads_nowhere_does_not_hide_a_star() {
        let all = scopes(&[("a", &["GET /x/me/only"]), ("b", &["GET /x/*/all"])]);
        assert!(allowed(&all, &["b"], "GET", "/x/me/all"));
    }

    #[test]
    fn bad_rules_say_why() {
        for (text, why) in [
            ("GET", PatternError::Shape),
            ("GET  /a b", PatternError::Operation),
            ("GET /a graphql:query b", PatternError::Shape),
            ("POST /a graphql:quer", PatternError::Operation),
            ("POST /a jsonrpc:", PatternError::Operation),
            ("get /a", PatternError::Method),
            ("GET, POST /a", PatternError::Shape),
            ("GET,,POST /a", PatternError::Method),
            ("TRACE /a", PatternError::Method),
            ("GET a", PatternError::Path),
            ("GET /a//b", PatternError::Path),
            ("GET /a/../b", PatternError::Path),
            ("GET /a?b", PatternError::Path),
            ("GET /a*/b", PatternError::PartialStar),
            ("GET /**/b", PatternError::RestNotLast),
        ] {
            assert_eq!(text.parse::<Rule>().unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in
            ["GET /a/*/b/**", "ANY /", "POST,PATCH /a/", "POST /x graphql:query", "POST /x xmlrpc:a.*"]
        {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        let all =
            scopes(&[("a", &["GET /x/*"]), ("b", &["GET,POST /x/y", "POST /x/**"]), ("c", &["PUT /x/y"])]);
        let about = |method: &str, path: &str| -> Vec<String> {
            let rules = all.rules_about(&method.parse().unwrap(), path);
            rules.iter().map(|(scope, rule)| format!("{} {rule}", scope.as_str())).collect()
        };
        assert_eq!(about("GET", "/x/y"), ["b GET,POST /x/y", "a GET /x/*"]);
        assert_eq!(about("POST", "/x/y"), ["b POST /x/**", "b GET,POST /x/y"]);
        assert_eq!(about("GET", "/z"), Vec::<String>::new());
    }

    #[test]
    fn what_the_body_decides() {
        let all = scopes(&[
            ("read", &["POST /graphql graphql:query"]),
            ("write", &["POST /graphql graphql:mutation"]),
            ("all", &["POST /graphql"]),
        ]);
        let held = |names: &[&str]| ScopeSet::of(names.iter().map(|name| all.id(name).unwrap()));
        let post = Method::POST;
        let (read, write, both) = (held(&["read"]), held(&["write"]), held(&["read", "all"]));
        assert_eq!(all.covering(&read, &post, "/graphql"), Coverage::NeedsBody);
        assert!(matches!(all.covering(&both, &post, "/graphql"), Coverage::Covered(_)));
        assert_eq!(all.covering(&read, &Method::GET, "/graphql"), Coverage::Uncovered);
        let asked = |held: &ScopeSet, body: &str| {
            let message = Message {
                method: &post,
                query: None,
                content_type: Some("application/json"),
                body: body.as_bytes(),
            };
            all.covering_message(held, "/graphql", &message)
                .ok()
                .map(|covered| covered.scope.as_str().to_owned())
        };
        assert_eq!(asked(&read, r#"{"query":"{a}"}"#).as_deref(), Some("read"));
        assert_eq!(asked(&read, r#"{"query":"mutation{a}"}"#), None);
        assert_eq!(asked(&write, r#"{"query":"mutation{a}"}"#).as_deref(), Some("write"));
        let mut closed = Scopes::closed_to(["ANY /graphql".parse().unwrap()]);
        let id = closed.add(ScopeName::new("all").unwrap(), ["POST /graphql".parse().unwrap()], None);
        assert_eq!(closed.covering(&ScopeSet::of([id]), &post, "/graphql"), Coverage::Never);
    }

    #[test]
    fn many_scopes_stay_apart() {
        let ids = [0, 63, 64, 1000].map(ScopeId);
        let set = ScopeSet::of(ids);
        assert!(ids.iter().all(|id| set.has(*id)));
        assert!(!set.has(ScopeId(1)) && !set.has(ScopeId(65)) && !set.has(ScopeId(2000)));
    }
}
