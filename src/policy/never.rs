//! What no key may ever reach, whatever its scopes.
//!
//! A scope that is written too wide (`ANY /api/**`) must not open these, so they are compared as loosely as a CRM's own
//! router may: case-blind (Express, and whatever runs on it, folds case by default), with or without slashes at the end
//! (Rails, Laravel and Express fold them), and with a format behind the last dot (`/profile.json` is `/profile` in Rails).
//! Refusing a little more is the safe side.

use std::cmp::Ordering;

use http::Method;

use super::path::{PathPattern, PathTree, Segment, unescaped};
use super::scope::Rule;

/// Rules against everyone.
#[derive(Clone, Debug, Default)]
pub struct Never {
    /// With literals without escapes in lower case, and no empty segment at the end.
    tree: PathTree<Rule>,
    /// The same, one by one.
    patterns: Vec<PathPattern>,
}

impl Never {
    /// Adds a rule. Its operation, if it has one, is not asked: the path is closed for all of them.
    pub fn add(&mut self, rule: &Rule) {
        let pattern = folded_pattern(&rule.path);
        self.tree.insert(&pattern, rule.clone());
        self.patterns.push(pattern);
    }

    /// True if a path could be closed that `pattern` covers. A scope's rule that cannot meet a closed path is spared the
    /// question at each request.
    pub fn may_meet(&self, pattern: &PathPattern) -> bool {
        let PathPattern(given) = folded_pattern(pattern);
        self.patterns.iter().any(|PathPattern(closed)| meet(&given, closed))
    }

    /// True if nobody may do this. `path` starts with `/`.
    pub fn has(&self, method: &Method, path: &str) -> bool {
        self.find(method, path).is_some()
    }

    /// The rule that says so.
    pub fn find(&self, method: &Method, path: &str) -> Option<&Rule> {
        if self.patterns.is_empty() {
            return None;
        }
        let path = &*unescaped(path);
        let odd = path.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'.');
        let spelling = if odd { Spelling::Odd } else { Spelling::Plain };
        walk(&self.tree, path.trim_end_matches('/').strip_prefix('/'), method, spelling)
    }
}

/// Without escapes, in lower case, without empty segments at the end: as a path is compared.
fn folded_pattern(PathPattern(segments): &PathPattern) -> PathPattern {
    let mut folded: Vec<Segment> = segments
        .iter()
        .map(|segment| match segment {
            Segment::Literal(text) => Segment::Literal(unescaped(text).to_ascii_lowercase().into()),
            Segment::One => Segment::One,
            Segment::Rest => Segment::Rest,
        })
        .collect();
    while folded.last().is_some_and(|last| *last == Segment::Literal("".into())) {
        folded.pop();
    }
    PathPattern(folded)
}

/// True if some path is covered by both, as loosely as [`Never::has`] compares.
fn meet(given: &[Segment], closed: &[Segment]) -> bool {
    let mut pairs = given.iter().zip(closed);
    let fit = |(given, closed): (&Segment, &Segment)| match (given, closed) {
        (Segment::Literal(given), Segment::Literal(closed)) => {
            given == closed || given.rsplit_once('.').is_some_and(|(before, _)| *before == **closed)
        }
        (Segment::One | Segment::Rest, _) | (_, Segment::One | Segment::Rest) => true,
    };
    let rest = |segments: &[Segment]| segments.iter().position(|segment| *segment == Segment::Rest);
    // What follows `**` in one of them is open; without one, both have the same length.
    match (rest(given), rest(closed)) {
        (None, None) => given.len() == closed.len() && pairs.all(fit),
        (Some(at), None) => closed.len() >= at && pairs.take(at).all(fit),
        (None, Some(at)) => given.len() >= at && pairs.take(at).all(fit),
        (Some(one), Some(other)) => pairs.take(one.min(other)).all(fit),
    }
}

/// Whether a path has letters to fold or a dot before a format. Few have, and the others are compared byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    Plain,
    Odd,
}

/// `rest` is what follows the slash after this node's segment; `None` at the end of the path.
fn walk<'n>(
    node: &'n PathTree<Rule>,
    rest: Option<&str>,
    method: &Method,
    spelling: Spelling,
) -> Option<&'n Rule> {
    let covering = |list: &'n [Rule]| list.iter().find(|rule| rule.methods.cover(method));
    let below = covering(&node.below);
    let (None, Some(rest)) = (below, rest) else {
        return below.or_else(|| covering(&node.here));
    };
    let (segment, after) = match rest.bytes().position(|byte| byte == b'/') {
        Some(slash) => (rest.get(..slash).unwrap_or_default(), rest.get(slash + 1..)),
        None => (rest, None),
    };
    let below = |child: &'n PathTree<Rule>| walk(child, after, method, spelling);
    let by_literal = match spelling {
        Spelling::Plain => node.literal_by(|known| known.cmp(segment)).and_then(below),
        Spelling::Odd => {
            let folded = |segment: &str| node.literal_by(|known| folded(known, segment)).and_then(below);
            let without_format = segment.rsplit_once('.').map(|(before, _)| before);
            folded(segment).or_else(|| without_format.and_then(folded))
        }
    };
    by_literal.or_else(|| node.one.as_deref().and_then(below))
}

/// How `known`, which is in lower case, compares with `segment` in whatever case.
fn folded(known: &str, segment: &str) -> Ordering {
    known.bytes().cmp(segment.bytes().map(|byte| byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A rule that is said never to meet a closed path never does.
        #[test]
        fn what_cannot_meet_does_not(
            given in "/(a|B|a\\.b|a%3Ab|a:b|\\*)(/(a|b|c\\.d|%C3%A9|\\*)){0,2}(/|/\\*\\*)?",
            closed in "/(A|b|c|a\\.b|A:b|a%3ab|\\*)(/(a|B|c|%c3%a9|\\*)){0,2}(/|/\\*\\*)?",
            path in "/(a|A|b|B|c|a\\.b|a:B|a%3Ab|x)(/(a|b|c|c\\.d|C\\.x|A|%C3%A9|%c3%A9\\.d)){0,3}/?",
        ) {
            let rule: Rule = format!("GET {given}").parse().unwrap();
            let mut never = Never::default();
            never.add(&format!("GET {closed}").parse().unwrap());
            let both = rule.is_about(&Method::GET, &path) && never.has(&Method::GET, &path);
            prop_assert!(!both || never.may_meet(&rule.path), "{given} {closed} {path}");
        }
    }

    #[test]
    fn most_rules_of_a_pack_are_not_asked_at_each_request() {
        let mut never = Never::default();
        for rule in ["ANY /api/*/profile/**", "POST /api/*/*/authorization"] {
            never.add(&rule.parse().unwrap());
        }
        for (pattern, meets) in [
            ("/api/1/profile/x", true),
            ("/api/1/PROFILE.json", true),
            ("/api/**", true),
            ("/**", true),
            ("/api/1/*", true),
            ("/api/1/tickets/*", true),
            ("/api/1/tickets", false),
            ("/api/1/tickets/7/notes", false),
            ("/api/1/tickets/notes", false),
            ("/profile", false),
        ] {
            assert_eq!(never.may_meet(&pattern.parse().unwrap()), meets, "{pattern}");
        }
    }

    #[test]
    fn every_spelling_that_a_crm_may_fold() {
        let mut never = Never::default();
        assert!(!never.has(&Method::GET, "/"));
        for rule in [
            "ANY /api/v1/Profile/**",
            "POST /api/v1/*/reset_token",
            "ANY /api/users/",
            "GET /res.users/*",
            "ANY /Caf%C3%A9%20x/a%3Ab",
        ] {
            never.add(&rule.parse().unwrap());
        }
        for (method, path, expect) in [
            ("GET", "/api/v1/profile", true),
            ("GET", "/api/v1/profile/", true),
            ("PUT", "/API/v1/PROFILE/avatar", true),
            ("GET", "/api/v1/profile.json", true),
            ("GET", "/api/v1/profiles", false),
            ("GET", "/api/v1/pro", false),
            ("POST", "/api/v1/7/reset_token", true),
            ("POST", "/api/v1/7/Reset_Token.xml/", true),
            ("GET", "/api/v1/7/reset_token", false),
            ("POST", "/api/v1/7/8/reset_token", false),
            ("GET", "/api/users", true),
            ("HEAD", "/api/users/", true),
            ("GET", "/api/users/7", false),
            ("HEAD", "/res.users/7", true),
            ("GET", "/res.users.log/7", true),
            ("GET", "/res/7", false),
            ("GET", "/caf%c3%a9%20X/a%3ab", true),
            ("GET", "/caf%C3%A9%20x/a:b.json", true),
            ("GET", "/caf%C3%A8%20x/a:b", false),
            ("GET", "/", false),
        ] {
            assert_eq!(never.has(&method.parse().unwrap(), path), expect, "{method} {path}");
        }
    }
}
