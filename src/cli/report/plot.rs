//! Plots as inline SVG. Colours are classes, so that the page's style decides about light, dark and paper.

use super::document::{Bar, Bars, count};
use super::html::safe;

/// Of the drawing, in its own units.
const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 28.0;
/// Width of a letter of the labels.
const LETTER: f64 = 7.5;

/// Bars, stacked, with a line for what is usual.
pub(super) fn bars(bars: &Bars) -> String {
    let all = &bars.bars;
    let tallest = all.iter().map(|bar| (bar.allowed + bar.refused) as f64).fold(0.0, f64::max);
    let usual = all.iter().filter_map(|bar| bar.usual).fold(0.0, f64::max);
    let (top, step) = scale(tallest.max(usual));
    let x = |at: usize| LEFT + (WIDTH - LEFT) * at as f64 / all.len().max(1) as f64;
    let y = |value: f64| TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - value / top);
    let mut out = format!("<figure>\n<figcaption>{}{}</figcaption>\n", safe(&bars.title), legend(all));
    out.push_str(&format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
        safe(&summary(bars))
    ));
    let mut value = 0.0;
    while value <= top + step / 2.0 {
        let at = y(value);
        out.push_str(&format!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"axis end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            brief(value.round() as u64)
        ));
        value += step;
    }
    let gap = if all.len() > 200 { 0.0 } else { (x(1) - x(0)) * 0.15 };
    for (at, bar) in all.iter().enumerate() {
        out.push_str(&one(bar, (x(at) + gap, x(at + 1) - gap), &y));
    }
    out.push_str(&usual_line(all, &x, &y));
    out.push_str(&labels(all, &x));
    out.push_str("</svg>\n</figure>\n");
    out
}

fn one(bar: &Bar, (from, to): (f64, f64), y: &dyn Fn(f64) -> f64) -> String {
    let (allowed, all) = (bar.allowed as f64, (bar.allowed + bar.refused) as f64);
    if all == 0.0 {
        return String::new();
    }
    let faded = if bar.is_past { " past" } else { "" };
    let rect = |class: &str, low: f64, high: f64| {
        if high > low {
            format!(
                "<rect class=\"{class}{faded}\" x=\"{from:.2}\" width=\"{:.2}\" y=\"{:.2}\" height=\"{:.2}\"/>",
                to - from,
                y(high),
                y(low) - y(high)
            )
        } else {
            String::new()
        }
    };
    let refused = if bar.refused > 0 { format!(", {} refused", count(bar.refused)) } else { String::new() };
    format!(
        "<g><title>{}: {}{refused}</title>{}{}</g>\n",
        safe(&bar.label),
        count(bar.allowed),
        rect("allowed", 0.0, allowed),
        rect("refused", allowed, all)
    )
}

fn usual_line(all: &[Bar], x: &dyn Fn(usize) -> f64, y: &dyn Fn(f64) -> f64) -> String {
    let mut points = String::new();
    for (at, bar) in all.iter().enumerate() {
        if let Some(usual) = bar.usual {
            for end in [x(at), x(at + 1)] {
                points.push_str(&format!("{end:.1},{:.1} ", y(usual)));
            }
        }
    }
    if points.is_empty() {
        points
    } else {
        format!("<polyline class=\"usual\" points=\"{}\"/>\n", points.trim_end())
    }
}

fn labels(all: &[Bar], x: &dyn Fn(usize) -> f64) -> String {
    let longest = all.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
    let fit = ((WIDTH - LEFT) / (longest as f64 * LETTER + 3.0 * LETTER)).max(1.0) as usize;
    let every = all.len().div_ceil(fit).max(1);
    let label = |(at, bar): (usize, &Bar)| {
        format!(
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\n",
            x(at),
            HEIGHT - 8.0,
            safe(&bar.label)
        )
    };
    all.iter().enumerate().step_by(every).map(label).collect()
}

fn legend(all: &[Bar]) -> String {
    let has = |name: &str, is: bool| {
        if is { format!("<span class=\"key {name}\">{name}</span>") } else { String::new() }
    };
    let refused = all.iter().any(|bar| bar.refused > 0);
    let usual = all.iter().any(|bar| bar.usual.is_some());
    let past = all.iter().any(|bar| bar.is_past);
    let past = if past { "<span class=\"key allowed past\">before this period</span>" } else { "" };
    format!(" {}{}{}{past}", has("allowed", true), has("refused", refused), has("usual", usual))
}

/// For those who do not see the plot.
fn summary(bars: &Bars) -> String {
    let all: u64 = bars.bars.iter().map(|bar| bar.allowed + bar.refused).sum();
    let most = bars.bars.iter().max_by_key(|bar| bar.allowed + bar.refused);
    let most = most.map_or_else(String::new, |bar| format!(", most of them {}", bar.label));
    format!("{}: {} requests{most}", bars.title, count(all))
}

/// The top of the axis and the distance of its lines: 1, 2 or 5 times a power of ten.
fn scale(most: f64) -> (f64, f64) {
    let rough = (most / 4.0).max(1.0);
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        [1.0, 2.0, 5.0, 10.0].into_iter().map(|it| it * power).find(|it| *it >= rough).unwrap_or(rough);
    ((most / step).ceil().max(1.0) * step, step)
}

/// A number on an axis, where there is room for seven characters.
fn brief(value: u64) -> String {
    match value {
        0..1_000_000 => count(value),
        1_000_000..1_000_000_000 => format!("{}M", value as f64 / 1e6),
        1_000_000_000.. => format!("{}bn", value as f64 / 1e9),
    }
}

/// A small plot within a row; the last `present` values are of this period.
pub(super) fn spark(values: &[u64], present: usize) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1) as f64;
    let wide = 4.0;
    let mut out = format!(
        "<svg class=\"spark\" viewBox=\"0 0 {} 24\" role=\"img\" aria-label=\"from {} to {}\">",
        values.len() as f64 * wide,
        count(values.first().copied().unwrap_or(0)),
        count(values.last().copied().unwrap_or(0))
    );
    for (at, value) in values.iter().enumerate().filter(|(_, value)| **value > 0) {
        let tall = (*value as f64 / most * 24.0).max(1.0);
        let faded = if at + present < values.len() { " past" } else { "" };
        out.push_str(&format!(
            "<rect class=\"allowed{faded}\" x=\"{:.1}\" y=\"{:.1}\" width=\"3\" height=\"{tall:.1}\"/>",
            at as f64 * wide,
            24.0 - tall
        ));
    }
    out + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_room_for_their_numbers() {
        for (value, shown) in [
            (0, "0"),
            (500_000, "500,000"),
            (1_200_000, "1.2M"),
            (250_000_000, "250M"),
            (12_500_000_000, "12.5bn"),
        ] {
            assert_eq!(brief(value), shown);
        }
    }

    #[test]
    fn axes_end_on_round_numbers() {
        for (most, axis) in [
            (0.0, (1.0, 1.0)),
            (3.0, (3.0, 1.0)),
            (7.0, (8.0, 2.0)),
            (100.0, (100.0, 50.0)),
            (1_234.0, (1_500.0, 500.0)),
        ] {
            assert_eq!(scale(most), axis, "{most}");
        }
    }
}
