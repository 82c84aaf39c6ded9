//! Scopes: named sets of `METHODS /path/pattern` rules, compiled into one tree.
//!
//! `*` stands for one segment that is not empty, `**` (only at the end) for any number of segments, none included. All
//! else is literal and compared byte for byte, which is safe because [`request_head`](crate::request_head) lets only one
//! spelling of a path through. `GET` covers `HEAD` (RFC 9110 section 9.3.2). `ANY` stands for every method.

use std::sync::Arc;

use http::Method;

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
pub struct ScopeSet(Box<[u64]>);

/// One `METHODS /path/pattern`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    methods: Methods,
    path: PathPattern,
}

/// A path with `*` and `**`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    One,
    Rest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Methods {
    Any,
    These(Vec<Method>),
}

/// Why a rule or pattern cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not two words.
    #[error("expected 'METHODS /path', as in 'GET /api/tickets/**'")]
    Shape,
    /// Not a list of methods.
    #[error("expected methods as 'GET', 'POST,PATCH' or 'ANY' (upper case, no spaces)")]
    Method,
    /// The path could never be one that reaches the CRM.
    #[error("this path is never let through: it must start with '/' and be in its plain canonical spelling")]
    Path,
    /// A `*` that is not a whole segment.
    #[error("'*' must be a whole segment, as in '/api/*/notes'")]
    PartialStar,
    /// `**` before the end.
    #[error("'**' can only be the last segment")]
    RestNotLast,
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
        let mut words: Vec<u64> = Vec::new();
        for ScopeId(id) in ids {
            let word = usize::from(id / 64);
            if words.len() <= word {
                words.resize(word + 1, 0);
            }
            if let Some(slot) = words.get_mut(word) {
                *slot |= 1 << (id % 64);
            }
        }
        Self(words.into_boxed_slice())
    }

    /// Membership.
    pub fn has(&self, ScopeId(id): ScopeId) -> bool {
        self.0.get(usize::from(id / 64)).is_some_and(|word| word >> (id % 64) & 1 == 1)
    }
}

impl std::str::FromStr for Rule {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (methods, path) = text.split_once(' ').ok_or(PatternError::Shape)?;
        let path = path.trim_start_matches(' ');
        if path.is_empty() || path.contains([' ', '\t']) {
            return Err(PatternError::Shape);
        }
        let methods = match methods {
            "ANY" => Methods::Any,
            list => Methods::These(list.split(',').map(method).collect::<Result<_, _>>()?),
        };
        Ok(Self { methods, path: path.parse()? })
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

impl std::str::FromStr for PathPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if crate::request_head::target::judge_path(text).is_err() || text.contains('?') {
            return Err(PatternError::Path);
        }
        let segments: Vec<Segment> = text
            .split('/')
            .skip(1)
            .map(|segment| match segment {
                "*" => Ok(Segment::One),
                "**" => Ok(Segment::Rest),
                partial if partial.contains('*') => Err(PatternError::PartialStar),
                literal => Ok(Segment::Literal(literal.into())),
            })
            .collect::<Result<_, _>>()?;
        let before_last = segments.split_last().map_or(&[][..], |(_, before)| before);
        if before_last.contains(&Segment::Rest) {
            return Err(PatternError::RestNotLast);
        }
        Ok(Self(segments))
    }
}

impl PathPattern {
    /// True if the pattern covers `path`, which starts with `/`.
    pub fn matches(&self, path: &str) -> bool {
        let mut given = path.split('/').skip(1);
        for segment in &self.0 {
            let fits = match (segment, given.next()) {
                (Segment::Rest, _) => return true,
                (Segment::One, Some(text)) => !text.is_empty(),
                (Segment::Literal(literal), Some(text)) => **literal == *text,
                (Segment::One | Segment::Literal(_), None) => false,
            };
            if !fits {
                return false;
            }
        }
        given.next().is_none()
    }
}

impl Methods {
    fn cover(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::These(list) => {
                list.contains(method) || (*method == Method::HEAD && list.contains(&Method::GET))
            }
        }
    }
}

/// A tree of patterns, each with a value; finds every value whose pattern matches a path, at a cost that grows with the
/// path and not with the number of patterns.
#[derive(Clone, Debug)]
pub struct PathTree<T> {
    /// Sorted by segment.
    literals: Vec<(Box<str>, Self)>,
    one: Option<Box<Self>>,
    here: Vec<T>,
    below: Vec<T>,
}

impl<T> Default for PathTree<T> {
    fn default() -> Self {
        Self { literals: Vec::new(), one: None, here: Vec::new(), below: Vec::new() }
    }
}

impl<T> PathTree<T> {
    /// Adds a pattern.
    pub fn insert(&mut self, PathPattern(segments): &PathPattern, value: T) {
        let mut node = self;
        for segment in segments {
            node = match segment {
                Segment::Literal(text) => node.child(text),
                Segment::One => &mut **node.one.get_or_insert_default(),
                Segment::Rest => {
                    node.below.push(value);
                    return;
                }
            };
        }
        node.here.push(value);
    }

    /// The child under a literal segment, made if it is new.
    fn child(&mut self, text: &str) -> &mut Self {
        let at = match self.literals.binary_search_by(|(known, _)| (**known).cmp(text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text.into(), Self::default()));
                at
            }
        };
        #[expect(clippy::indexing_slicing, reason = "the search found it, or it was inserted there")]
        let (_, child) = &mut self.literals[at];
        child
    }

    fn literal(&self, text: &str) -> Option<&Self> {
        let at = self.literals.binary_search_by(|(known, _)| (**known).cmp(text)).ok()?;
        self.literals.get(at).map(|(_, child)| child)
    }

    /// True if `accept` is true for a value whose pattern matches `path`, which starts with `/`.
    pub fn any(&self, path: &str, accept: &mut impl FnMut(&T) -> bool) -> bool {
        self.walk(path.strip_prefix('/'), accept)
    }

    /// `rest` is what follows the slash after this node's segment; `None` at the end of the path.
    fn walk(&self, rest: Option<&str>, accept: &mut impl FnMut(&T) -> bool) -> bool {
        if self.below.iter().any(&mut *accept) {
            return true;
        }
        let Some(rest) = rest else {
            return self.here.iter().any(accept);
        };
        let (segment, after) = match rest.bytes().position(|byte| byte == b'/') {
            Some(slash) => (rest.get(..slash).unwrap_or_default(), rest.get(slash + 1..)),
            None => (rest, None),
        };
        let by_literal = self.literal(segment).is_some_and(|child| child.walk(after, accept));
        by_literal
            || (!segment.is_empty() && self.one.as_ref().is_some_and(|child| child.walk(after, accept)))
    }
}

/// All scopes of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    names: Vec<ScopeName>,
    tree: PathTree<(Methods, ScopeId)>,
}

impl Scopes {
    /// Adds a scope, or more rules to one that has the same name.
    ///
    /// Scopes over [`MOST_SCOPES`] grant nothing; the configuration refuses them with a message.
    pub fn add(&mut self, name: ScopeName, rules: impl IntoIterator<Item = Rule>) -> ScopeId {
        let id = self.id(name.as_str()).unwrap_or_else(|| {
            self.names.push(name);
            ScopeId(u16::try_from(self.names.len() - 1).unwrap_or(u16::MAX))
        });
        for Rule { methods, path } in rules {
            self.tree.insert(&path, (methods, id));
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

    /// The scope among `held` that covers this method and path.
    pub fn covering(&self, held: &ScopeSet, method: &Method, path: &str) -> Option<&ScopeName> {
        let mut found = None;
        self.tree.any(path, &mut |(methods, id)| {
            let covers = held.has(*id) && methods.cover(method);
            if covers {
                found = Some(*id);
            }
            covers
        });
        found.and_then(|ScopeId(id)| self.names.get(usize::from(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(rules: &[(&str, &[&str])]) -> Scopes {
        let mut scopes = Scopes::default();
        for (name, rules) in rules {
            scopes.add(ScopeName::new(name).unwrap(), rules.iter().map(|rule| rule.parse().unwrap()));
        }
        scopes
    }

    fn allowed(scopes: &Scopes, held: &[&str], method: &str, path: &str) -> bool {
        let held = ScopeSet::of(held.iter().map(|name| scopes.id(name).unwrap()));
        scopes.covering(&held, &method.parse().unwrap(), path).is_some()
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
            ("GET  /a b", PatternError::Shape),
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
    fn many_scopes_stay_apart() {
        let ids = [0, 63, 64, 1000].map(ScopeId);
        let set = ScopeSet::of(ids);
        assert!(ids.iter().all(|id| set.has(*id)));
        assert!(!set.has(ScopeId(1)) && !set.has(ScopeId(65)) && !set.has(ScopeId(2000)));
    }
}
