//! Paths with `*` for one segment and `**` for any number at the end, and a tree of them.

use std::borrow::Cow;
use std::cmp::Ordering;

use percent_encoding::percent_decode_str;

/// A path with `*` and `**`, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern(pub(super) Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    Literal(Box<str>),
    One,
    Rest,
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
    /// Not an operation.
    #[error(
        "expected an operation as 'graphql:query', 'graphql:mutation', 'graphql:subscription', 'jsonrpc:NAME' or 'xmlrpc:NAME'"
    )]
    Operation,
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

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Literal(text) => write!(f, "/{text}"),
            Segment::One => f.write_str("/*"),
            Segment::Rest => f.write_str("/**"),
        })
    }
}

impl PathPattern {
    /// True if the pattern has no `*`: it names one path, whole.
    pub fn is_literal(&self) -> bool {
        self.0.iter().all(|segment| matches!(segment, Segment::Literal(_)))
    }

    /// True if the pattern covers `path`, which starts with `/`.
    pub fn matches(&self, path: &str) -> bool {
        // Most paths differ from most patterns in the first segment.
        if let Some(Segment::Literal(first)) = self.0.first()
            && !path.as_bytes().get(1..).is_some_and(|rest| rest.starts_with(first.as_bytes()))
        {
            return false;
        }
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

/// A path that was judged, with its escapes decoded: what a router that decodes before it looks may see.
pub fn unescaped(path: &str) -> Cow<'_, str> {
    if path.contains('%') { percent_decode_str(path).decode_utf8_lossy() } else { Cow::Borrowed(path) }
}

/// True for `door` itself, whatever its case and its escapes, and for what goes on behind it with anything but a letter, a
/// digit, `-` or `_`.
pub fn is_near(door: &str, path: &str) -> bool {
    let (door, path) = (unescaped(door.trim_end_matches('/')), unescaped(path));
    let Some((start, rest)) = path.as_bytes().split_at_checked(door.len()) else { return false };
    if door.is_empty() {
        return rest == b"/";
    }
    let goes_on = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    start.eq_ignore_ascii_case(door.as_bytes()) && !rest.first().is_some_and(goes_on)
}

/// A tree of patterns, each with a value; finds every value whose pattern matches a path, at a cost that grows with the
/// path and not with the number of patterns.
#[derive(Clone, Debug)]
pub struct PathTree<T> {
    /// Sorted by segment.
    literals: Vec<(Box<str>, Self)>,
    pub(super) one: Option<Box<Self>>,
    pub(super) here: Vec<T>,
    pub(super) below: Vec<T>,
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
        self.literal_by(|known| known.cmp(text))
    }

    /// The child whose literal segment compares as equal, in an order in which the literals are sorted.
    pub(super) fn literal_by(&self, order: impl Fn(&str) -> Ordering) -> Option<&Self> {
        let at = self.literals.binary_search_by(|(known, _)| order(known)).ok()?;
        self.literals.get(at).map(|(_, child)| child)
    }

    /// True if `accept` is true for a value whose pattern matches `path`, which starts with `/`.
    pub fn any(&self, path: &str, accept: &mut impl FnMut(&T) -> bool) -> bool {
        self.walk(path.strip_prefix('/'), accept)
    }

    /// Shows `see` every value whose pattern matches `path`.
    pub fn each<'t>(&'t self, path: &str, see: &mut impl FnMut(&'t T)) {
        self.walk(path.strip_prefix('/'), &mut |value| {
            see(value);
            false
        });
    }

    /// `rest` is what follows the slash after this node's segment; `None` at the end of the path.
    fn walk<'t>(&'t self, rest: Option<&str>, accept: &mut impl FnMut(&'t T) -> bool) -> bool {
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

#[cfg(test)]
mod tests {
    use super::is_near;

    #[test]
    fn neighbours_of_a_door() {
        for near in ["/hook", "/Hook", "/hook/", "/hook.json", "/hook/x", "/HOOK;a=b", "/hook%2e"] {
            assert!(is_near("/hook", near) && is_near("/hook/", near), "{near}");
        }
        for (door, near) in [("/a:b@c", "/a%3Ab%40c"), ("/a%3Ab", "/A:b/"), ("/%C3%A9", "/%c3%a9.x")] {
            assert!(is_near(door, near), "{door} {near}");
        }
        for far in ["/", "/hoo", "/hooks", "/hook-2", "/hook_2", "/a/hook"] {
            assert!(!is_near("/hook", far), "{far}");
        }
        assert!(is_near("/", "/"));
        assert!(!is_near("/", "/login"));
    }
}
