//! Paths that were written down: the first one that covers a path has it. Found by a tree, whatever their number.

use std::sync::Arc;

use crate::outcome::RouteStats;
use crate::policy::path::{PathPattern, PathTree};

/// So many are read from the top more quickly than by the tree.
const FEW: usize = 8;

/// A path that was written down.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub pattern: PathPattern,
    /// Who may use it.
    pub access: Access,
    /// Its record.
    pub stats: Arc<RouteStats>,
}

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone: the CRM has its own login there.
    Public,
    /// Holders of keys, by scope.
    Key,
}

/// All of them, in their order.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    in_order: Vec<Route>,
    /// Their places in the order.
    tree: PathTree<usize>,
}

impl Routes {
    /// The first route that covers `path`, and those above it.
    pub fn first(&self, path: &str) -> Option<(&Route, &[Route])> {
        let first = if self.in_order.len() <= FEW {
            self.in_order.iter().position(|route| route.pattern.matches(path))?
        } else {
            let mut first = usize::MAX;
            self.tree.each(path, &mut |at| first = first.min(*at));
            first
        };
        Some((self.in_order.get(first)?, self.in_order.get(..first)?))
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.in_order.iter()
    }
}

impl FromIterator<Route> for Routes {
    fn from_iter<I: IntoIterator<Item = Route>>(routes: I) -> Self {
        let in_order: Vec<Route> = routes.into_iter().collect();
        let mut tree = PathTree::default();
        for (at, route) in in_order.iter().enumerate() {
            tree.insert(&route.pattern, at);
        }
        Self { in_order, tree }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Histogram, HistogramOpts};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_in_order_has_the_path(
            patterns in prop::collection::vec("/(a|b|\\*)(/(a|b|\\*)){0,2}(/\\*\\*)?", 0..24),
            path in "(/(a|b|c)){1,4}/?",
        ) {
            let seconds = || Histogram::with_opts(HistogramOpts::new("s", "s")).unwrap();
            let stats = Arc::new(RouteStats::new("r".into(), seconds(), seconds()));
            let route = |text: &String| Route {
                pattern: text.parse().unwrap(),
                access: Access::Public,
                stats: Arc::clone(&stats),
            };
            let routes: Routes = patterns.iter().map(route).collect();
            let expected = routes.iter().position(|route| route.pattern.matches(&path));
            prop_assert_eq!(routes.first(&path).map(|(_, above)| above.len()), expected);
        }
    }
}
