//! Where comments are in TOML text, and where its last word is. Enough of a reader to tell a `#` in a string from one that
//! starts a comment; whether the text is valid is asked elsewhere.

use std::ops::Range;

/// What a piece of text holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Each comment from its `#` to the end of its line, without the line break.
    pub(super) comments: Vec<Range<usize>>,
    /// The end of the last line that holds more than a comment, line break included.
    pub(super) body_end: usize,
}

/// Reads `text` once.
pub(super) fn layout(text: &str) -> Layout {
    let bytes = text.as_bytes();
    let (mut comments, mut last_word, mut at) = (Vec::new(), None, 0);
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'#' => {
                let end = line_end(bytes, at);
                let comment = text.get(at..end).map_or(0, |comment| comment.trim_end_matches('\r').len());
                comments.push(at..at + comment);
                end
            }
            b'"' | b'\'' => string_end(bytes, at, *byte),
            _ => at + 1,
        };
        if !matches!(byte, b'#' | b' ' | b'\t' | b'\r' | b'\n') {
            last_word = Some(end);
        }
        at = end;
    }
    let body_end = last_word.map_or(0, |end| (line_end(bytes, end) + 1).min(bytes.len()));
    Layout { comments, body_end }
}

/// The position of the next line break, or the end.
fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())
}

/// The end of the string that starts at `start`.
fn string_end(bytes: &[u8], start: usize, quote: u8) -> usize {
    let quotes = |at: usize| {
        bytes.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == quote).take(5).count()
    };
    let length = match quotes(start) {
        0 | 1 => 1,
        2 => return start + 2,
        _ => 3,
    };
    let mut at = start + length;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' if quote == b'"' => at += 2,
            // Up to two quotes may stand right before the three that close.
            _ if *byte == quote && quotes(at) >= length => {
                return if length == 1 { at + 1 } else { at + quotes(at) };
            }
            b'\n' if length == 1 => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_are_told_apart() {
        let text = "a = \"x # no\" # one\nb = 'c:\\' # two\r\nc = \"\"\"\n# no\n\\\"\"\"\"\" # three\nd = [\n  1, # four\n]\n\n# five\n";
        let layout = layout(text);
        let found: Vec<&str> = layout.comments.iter().map(|at| &text[at.clone()]).collect();
        assert_eq!(found, ["# one", "# two", "# three", "# four", "# five"]);
        assert_eq!(&text[layout.body_end..], "\n# five\n");
    }

    #[test]
    fn odd_ends() {
        for (text, body_end) in [("", 0), ("# x", 0), ("a = ''", 6), ("a = \"", 5), ("a = '''", 7)] {
            assert_eq!(layout(text).body_end, body_end, "{text}");
        }
    }
}
