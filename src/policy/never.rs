//! What no key may ever reach, whatever its scopes.
//!
//! A scope that is written too wide (`ANY /api/**`) must not open these, so they are compared as loosely as a CRM's own
//! router may: case-blind (Express, and whatever runs on it, folds case by default), with or without slashes at the end
//! (Rails, Laravel and Express fold them), and with a format behind the last dot (`/profile.json` is `/profile` in Rails).
//! Refusing a little more is the safe side.

use std::cmp::Ordering;

use http::Method;

use super::path::{PathPattern, PathTree, Segment};
use super::scope::{Methods, Rule};

/// Rules against everyone.
#[derive(Clone, Debug, Default)]
pub struct Never {
    /// With literals in lower case and no empty segment at the end.
    tree: PathTree<Methods>,
    is_empty: IsEmpty,
}

/// Whether there is a rule at all: without a pack, a request does not pay for this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum IsEmpty {
    #[default]
    Yes,
    No,
}

impl Never {
    /// Adds a rule. Its operation, if it has one, is not asked: the path is closed for all of them.
    pub fn add(&mut self, rule: &Rule) {
        let PathPattern(segments) = &rule.path;
        let mut folded: Vec<Segment> = segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => Segment::Literal(text.to_ascii_lowercase().into()),
                Segment::One => Segment::One,
                Segment::Rest => Segment::Rest,
            })
            .collect();
        while folded.last().is_some_and(|last| *last == Segment::Literal("".into())) {
            folded.pop();
        }
        self.tree.insert(&PathPattern(folded), rule.methods.clone());
        self.is_empty = IsEmpty::No;
    }

    /// True if nobody may do this. `path` starts with `/`.
    pub fn has(&self, method: &Method, path: &str) -> bool {
        if self.is_empty == IsEmpty::Yes {
            return false;
        }
        let odd = path.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'.');
        let spelling = if odd { Spelling::Odd } else { Spelling::Plain };
        walk(&self.tree, path.trim_end_matches('/').strip_prefix('/'), method, spelling)
    }
}

/// Whether a path has letters to fold or a dot before a format. Few have, and the others are compared byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spelling {
    Plain,
    Odd,
}

/// `rest` is what follows the slash after this node's segment; `None` at the end of the path.
fn walk(node: &PathTree<Methods>, rest: Option<&str>, method: &Method, spelling: Spelling) -> bool {
    let covered = |list: &[Methods]| list.iter().any(|methods| methods.cover(method));
    if covered(&node.below) {
        return true;
    }
    let Some(rest) = rest else {
        return covered(&node.here);
    };
    let (segment, after) = match rest.bytes().position(|byte| byte == b'/') {
        Some(slash) => (rest.get(..slash).unwrap_or_default(), rest.get(slash + 1..)),
        None => (rest, None),
    };
    let below = |child: &PathTree<Methods>| walk(child, after, method, spelling);
    let by_literal = match spelling {
        Spelling::Plain => node.literal_by(|known| known.cmp(segment)).is_some_and(below),
        Spelling::Odd => {
            let folded = |segment: &str| node.literal_by(|known| folded(known, segment)).is_some_and(below);
            let without_format = segment.rsplit_once('.').map(|(before, _)| before);
            folded(segment) || without_format.is_some_and(folded)
        }
    };
    by_literal || node.one.as_deref().is_some_and(below)
}

/// How `known`, which is in lower case, compares with `segment` in whatever case.
fn folded(known: &str, segment: &str) -> Ordering {
    known.bytes().cmp(segment.bytes().map(|byte| byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_that_a_crm_may_fold() {
        let mut never = Never::default();
        assert!(!never.has(&Method::GET, "/"));
        for rule in
            ["ANY /api/v1/Profile/**", "POST /api/v1/*/reset_token", "ANY /api/users/", "GET /res.users/*"]
        {
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
            ("GET", "/", false),
        ] {
            assert_eq!(never.has(&method.parse().unwrap(), path), expect, "{method} {path}");
        }
    }
}
