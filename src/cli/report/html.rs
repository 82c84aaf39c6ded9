//! A report as one HTML file: no script, no network, every string escaped. A policy in it says so to the browser.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest;

use super::super::terminal::plain;
use super::document::{Cell, Document, Part, Section, Table, Tile, Tone};
use super::plot;

const STYLE: &str = include_str!("style.css");

pub(super) fn page(document: &Document) -> String {
    let hash = STANDARD.encode(digest::digest(&digest::SHA256, STYLE.as_bytes()));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'");
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{}</h1>\n<p>{}</p>\n",
        safe(&document.title),
        safe(&document.title),
        safe(&document.subtitle)
    );
    for note in &document.notes {
        out.push_str(&format!("<p class=\"note\">{}</p>\n", safe(note)));
    }
    out.push_str("</header>\n<main>\n<ul class=\"tiles\">\n");
    document.tiles.iter().for_each(|tile| out.push_str(&tile_of(tile)));
    out.push_str("</ul>\n");
    document.sections.iter().for_each(|section| add(&mut out, section));
    out.push_str(
        "</main>\n<footer>Made by Sidelock from its access log. Times are UTC.</footer>\n</body>\n</html>\n",
    );
    out
}

/// Text within an element or a quoted attribute.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in plain(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Longest text that stands in one line.
const LONG: usize = 24;

const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Warn => "warn",
        Tone::Bad => "bad",
    }
}

fn tile_of(tile: &Tile) -> String {
    format!(
        "<li class=\"{}\"><span class=\"label\">{}</span><span class=\"value\">{}</span><span class=\"small\">{}</span></li>\n",
        class(tile.tone),
        safe(tile.label),
        safe(&tile.value),
        safe(&tile.note)
    )
}

fn add(out: &mut String, section: &Section) {
    out.push_str(&format!("<section>\n<h2>{}</h2>\n", safe(section.title)));
    if !section.lead.is_empty() {
        out.push_str(&format!("<p>{}</p>\n", safe(&section.lead)));
    }
    for part in &section.parts {
        match part {
            Part::Table(table) => rows(out, table),
            Part::Bars(bars) => out.push_str(&plot::bars(bars)),
            Part::Text(text) => {
                let lines: Vec<String> = text.lines().map(safe).collect();
                out.push_str(&format!("<pre>{}</pre>\n", lines.join("\n")));
            }
        }
    }
    out.push_str("</section>\n");
}

fn rows(out: &mut String, table: &Table) {
    if !table.title.is_empty() {
        out.push_str(&format!("<h3>{}</h3>\n", safe(table.title)));
    }
    out.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    let first = table.rows.first().map(Vec::as_slice).unwrap_or_default();
    for (head, cell) in table.head.iter().zip(first) {
        let class = if cell.is_number() { " class=\"number\"" } else { "" };
        out.push_str(&format!("<th scope=\"col\"{class}>{}</th>", safe(head)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &table.rows {
        out.push_str("<tr>");
        row.iter().for_each(|cell| out.push_str(&cell_of(cell)));
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    if let Some(more) = &table.more {
        out.push_str(&format!("<p class=\"small\">{}.</p>\n", safe(more)));
    }
}

fn cell_of(cell: &Cell) -> String {
    match cell {
        // What is long is broken into lines, but not into columns of letters.
        Cell::Text(text) if text.len() > LONG => format!("<td class=\"long\">{}</td>", safe(text)),
        Cell::Text(text) => format!("<td>{}</td>", safe(text)),
        Cell::Code(text) if text.len() > LONG => {
            format!("<td class=\"long\"><code>{}</code></td>", safe(text))
        }
        Cell::Code(text) => format!("<td class=\"whole\"><code>{}</code></td>", safe(text)),
        Cell::Moment(text) => {
            let parts: Vec<String> =
                text.split(' ').map(|part| format!("<span>{}</span>", safe(part))).collect();
            format!("<td class=\"moment\">{}</td>", parts.join(" "))
        }
        Cell::Number(text) => format!("<td class=\"number\">{}</td>", safe(text)),
        Cell::Flag(tone, text) => {
            let place = if cell.is_number() { " class=\"number\"" } else { "" };
            format!("<td{place}><span class=\"flag {}\">{}</span></td>", class(*tone), safe(text))
        }
        Cell::Spark(values, present) => format!("<td>{}</td>", plot::spark(values, *present)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_becomes_markup() {
        assert_eq!(
            safe("<script>\"a\" & 'b'\u{1b}\n\u{202e}</script>"),
            "&lt;script&gt;&quot;a&quot; &amp; &#39;b&#39;\\u{1b}\\u{a}\\u{202e}&lt;/script&gt;"
        );
    }
}
