//! A report for a terminal: everything escaped that could steer one.

use super::super::terminal::{plain, short};
use super::document::{Bars, Cell, Document, Part, Section, Table, Tone};

/// Widest cell.
const WIDEST: usize = 60;
/// Bars in a line.
const MOST_BARS: usize = 96;

pub(super) fn text(document: &Document) -> String {
    let mut out = String::new();
    let title = plain(&document.title);
    out.push_str(&format!("{title}\n{}\n{}\n", "=".repeat(title.chars().count()), plain(&document.subtitle)));
    for note in &document.notes {
        out.push_str(&format!("{}\n", plain(note)));
    }
    out.push('\n');
    for tile in &document.tiles {
        let mark = mark(tile.tone);
        let line = format!("{:<24} {:>12} {mark} {}", tile.label, plain(&tile.value), plain(&tile.note));
        out.push_str(line.trim_end());
        out.push('\n');
    }
    for section in &document.sections {
        add(&mut out, section);
    }
    out
}

const fn mark(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => " ",
        Tone::Warn => "!",
        Tone::Bad => "‼",
    }
}

fn add(out: &mut String, section: &Section) {
    out.push_str(&format!("\n{}\n{}\n", section.title, "-".repeat(section.title.chars().count())));
    if !section.lead.is_empty() {
        out.push_str(&format!("{}\n", plain(&section.lead)));
    }
    for part in &section.parts {
        match part {
            Part::Table(table) => rows(out, table),
            Part::Bars(bars) => sketch(out, bars),
            Part::Text(text) => text.lines().for_each(|line| out.push_str(&format!("    {}\n", plain(line)))),
        }
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Text(text) | Cell::Code(text) => short(&plain(text), WIDEST),
        Cell::Number(text) | Cell::Moment(text) => plain(text),
        Cell::Flag(Tone::Plain, text) => plain(text),
        Cell::Flag(tone, text) => format!("{} {}", mark(*tone), plain(text)),
        Cell::Spark(values, _) => spark(values),
    }
}

fn rows(out: &mut String, table: &Table) {
    if !table.title.is_empty() {
        out.push_str(&format!("\n{}:\n", table.title));
    }
    let cells: Vec<Vec<String>> = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let mut widths: Vec<usize> = table.head.iter().map(|head| head.chars().count()).collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let right: Vec<bool> =
        table.rows.first().map(|row| row.iter().map(Cell::is_number).collect()).unwrap_or_default();
    let head: Vec<String> = table.head.iter().map(|head| head.to_uppercase()).collect();
    for row in std::iter::once(&head).chain(&cells) {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(&widths).zip(&right) {
            line.push_str(&if *right { format!("{cell:>width$}  ") } else { format!("{cell:<width$}  ") });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if let Some(more) = &table.more {
        out.push_str(&format!("({})\n", plain(more)));
    }
}

/// One character a value.
fn spark(values: &[u64]) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let step = |value: &u64| match *value {
        0 => '·',
        value => {
            let at = usize::try_from(u128::from(value) * 7 / u128::from(most)).unwrap_or(0);
            STEPS.get(at).copied().unwrap_or('█')
        }
    };
    values.iter().map(step).collect()
}

/// The same for bars; several in one character if there are too many.
fn sketch(out: &mut String, bars: &Bars) {
    let each = bars.bars.len().div_ceil(MOST_BARS).max(1);
    let of = |value: &dyn Fn(usize) -> u64| -> Vec<u64> {
        let all: Vec<u64> = (0..bars.bars.len()).map(value).collect();
        all.chunks(each).map(|chunk| chunk.iter().sum()).collect()
    };
    let allowed = of(&|at| bars.bars.get(at).map_or(0, |bar| bar.allowed));
    let refused = of(&|at| bars.bars.get(at).map_or(0, |bar| bar.refused));
    let usual = of(&|at| bars.bars.get(at).and_then(|bar| bar.usual).map_or(0, |usual| usual.round() as u64));
    let ends = [bars.bars.first(), bars.bars.last()].map(|bar| bar.map_or("", |bar| &*bar.label));
    out.push_str(&format!("\n{}, {} to {}:\n", plain(&bars.title), plain(ends[0]), plain(ends[1])));
    out.push_str(&format!("  allowed  {}  most {}\n", spark(&allowed), allowed.iter().max().unwrap_or(&0)));
    for (name, values) in [("refused", refused), ("usually", usual)] {
        if values.iter().any(|value| *value > 0) {
            out.push_str(&format!(
                "  {name}  {}  most {}\n",
                spark(&values),
                values.iter().max().unwrap_or(&0)
            ));
        }
    }
}
