//! Which records a key reached, by the shape of their path.

use std::collections::HashMap;

use serde::Serialize;

use super::tops::Tops;
use crate::clock::WallTime;

/// Ids that are kept of one shape.
const MOST_OF_A_SHAPE: usize = 1_000;
/// Shapes whose ids are kept.
const MOST_SHAPES: usize = 200;

/// Ids by shape.
#[derive(Debug, Default)]
pub struct Touched {
    shapes: HashMap<Box<str>, Ids>,
    /// Requests whose ids were not kept, because there were too many shapes.
    left_out: u64,
}

#[derive(Debug)]
struct Ids {
    ids: Tops<Changed>,
}

/// Whether a record was the object of a method that changes.
#[derive(Debug, Default)]
struct Changed(bool);

/// The ids of one shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// The shape of their path.
    pub shape: String,
    /// Different ids, at least.
    pub ids: u64,
    /// True if there were too many to keep all of them.
    pub incomplete: bool,
    /// Those that were asked for most, the changed ones first.
    pub examples: Vec<Id>,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Id {
    /// Its ids in the path, joined by slashes.
    pub id: String,
    /// Requests.
    pub count: u64,
    /// True if one of them can have changed it: POST, PUT, PATCH, DELETE.
    pub changed: bool,
}

impl Touched {
    /// A record was reached.
    pub fn note(&mut self, shape: &str, id: &str, (count, at): (u64, WallTime), changes: bool) {
        if !self.shapes.contains_key(shape) {
            if self.shapes.len() >= MOST_SHAPES {
                self.left_out += count;
                return;
            }
            self.shapes.insert(shape.into(), Ids { ids: Tops::new(MOST_OF_A_SHAPE) });
        }
        if let Some(Ids { ids }) = self.shapes.get_mut(shape) {
            ids.note(id, (count, at), |changed| changed.0 |= changes);
        }
    }

    /// Requests whose ids were not kept.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// What was reached, the shapes with most ids first.
    pub fn reached(&self) -> Vec<Reached> {
        let mut all: Vec<Reached> = self.shapes.iter().map(|(shape, ids)| reached(shape, &ids.ids)).collect();
        all.sort_by(|a, b| b.ids.cmp(&a.ids).then_with(|| a.shape.cmp(&b.shape)));
        all
    }
}

fn reached(shape: &str, ids: &Tops<Changed>) -> Reached {
    let mut examples: Vec<Id> = ids
        .sorted()
        .into_iter()
        .map(|(id, entry)| Id { id: id.to_owned(), count: entry.count, changed: entry.value.0 })
        .collect();
    examples.sort_by_key(|id| !id.changed);
    examples.truncate(MOST_OF_A_SHAPE);
    Reached {
        shape: shape.to_owned(),
        ids: u64::try_from(ids.len()).unwrap_or(u64::MAX),
        incomplete: ids.forgotten() > 0,
        examples,
    }
}
