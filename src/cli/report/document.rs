//! What a report says, before it is text or HTML. All strings are as they were found: whoever shows them escapes them.

/// A report.
#[derive(Clone, Debug)]
pub(super) struct Document {
    pub(super) title: String,
    pub(super) subtitle: String,
    /// What to know before believing the figures.
    pub(super) notes: Vec<String>,
    pub(super) tiles: Vec<Tile>,
    pub(super) sections: Vec<Section>,
}

/// A figure that is seen first.
#[derive(Clone, Debug)]
pub(super) struct Tile {
    pub(super) label: &'static str,
    pub(super) value: String,
    pub(super) note: String,
    pub(super) tone: Tone,
}

/// How something is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    /// Worth a look.
    Warn,
    /// Needs something to be done.
    Bad,
}

#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) lead: String,
    pub(super) parts: Vec<Part>,
}

#[derive(Clone, Debug)]
pub(super) enum Part {
    Table(Table),
    Bars(Bars),
    /// A text to copy.
    Text(String),
}

#[derive(Clone, Debug)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<Cell>>,
    /// What is not in it.
    pub(super) more: Option<String>,
    most: usize,
}

#[derive(Clone, Debug)]
pub(super) enum Cell {
    Text(String),
    /// An id, a path, an address.
    Code(String),
    Number(String),
    /// A date and a time.
    Moment(String),
    /// A word about the row.
    Flag(Tone, String),
    /// Counts over time, of which the last so many are the present ones.
    Spark(Vec<u64>, usize),
}

/// Bars over time: what was allowed, and on it what was refused.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) allowed: u64,
    pub(super) refused: u64,
    /// What would have been usual.
    pub(super) usual: Option<f64>,
    /// Of the past that is compared with.
    pub(super) is_past: bool,
}

/// Rows of a table that people are shown.
pub(super) const SHOWN: usize = 50;

impl Cell {
    /// True for what stands at the right of its column.
    pub(super) fn is_number(&self) -> bool {
        match self {
            Self::Number(_) => true,
            Self::Flag(_, text) => text.starts_with(|first: char| first.is_ascii_digit()),
            Self::Text(_) | Self::Code(_) | Self::Moment(_) | Self::Spark(..) => false,
        }
    }
}

impl Table {
    pub(super) fn new(title: &'static str, head: &[&'static str]) -> Self {
        Self { title, head: head.to_vec(), rows: Vec::new(), more: None, most: SHOWN }
    }

    /// Fewer rows than [`SHOWN`].
    pub(super) const fn most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// The first [`SHOWN`] of `items`, and a word about the others.
    pub(super) fn with<T>(mut self, items: &[T], row: impl Fn(&T) -> Vec<Cell>) -> Self {
        self.rows = items.iter().take(self.most).map(row).collect();
        let others = items.len().saturating_sub(self.most);
        if others > 0 {
            self.more = Some(format!("{} more; --json has them", count(others as u64)));
        }
        self
    }

    /// A further word about what is not in it.
    pub(super) fn and(mut self, what: Option<String>) -> Self {
        self.more = match (self.more.take(), what) {
            (Some(more), Some(what)) => Some(format!("{more}. {what}")),
            (more, what) => more.or(what),
        };
        self
    }
}

impl Section {
    pub(super) fn new(title: &'static str, lead: impl Into<String>) -> Self {
        Self { title, lead: lead.into(), parts: Vec::new() }
    }

    /// With a table, unless it has no rows.
    pub(super) fn table(mut self, table: Table) -> Self {
        if !table.rows.is_empty() {
            self.parts.push(Part::Table(table));
        }
        self
    }

    pub(super) fn bars(mut self, bars: Bars) -> Self {
        self.parts.push(Part::Bars(bars));
        self
    }
}

pub(super) fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

pub(super) fn code(text: impl Into<String>) -> Cell {
    Cell::Code(text.into())
}

pub(super) fn when(text: impl Into<String>) -> Cell {
    Cell::Moment(text.into())
}

pub(super) fn number(value: u64) -> Cell {
    Cell::Number(count(value))
}

/// `1,234,567`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 request`, `2 requests`.
pub(super) fn counted(value: u64, what: &str) -> String {
    plural(value, what, &format!("{what}s"))
}

/// `1 address`, `2 addresses`.
pub(super) fn plural(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(value), if value == 1 { one } else { many })
}

/// `12.3 MiB`.
pub(super) fn bytes(value: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut size = value as f64;
    let mut unit = 0;
    while size >= 1024.0 && unit + 1 < units.len() {
        size /= 1024.0;
        unit += 1;
    }
    let unit = units.get(unit).copied().unwrap_or("");
    if unit == "B" { format!("{value} B") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_as_people_read_them() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1_023, 1_024, 1_572_864].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.5 MiB"]);
        assert_eq!((counted(1, "key"), counted(2, "key")), ("1 key".to_owned(), "2 keys".to_owned()));
        let table = Table::new("", &["a"]).with(&[0; SHOWN + 2], |_| vec![text("x")]);
        assert_eq!((table.rows.len(), table.more.as_deref()), (SHOWN, Some("2 more; --json has them")));
    }
}
