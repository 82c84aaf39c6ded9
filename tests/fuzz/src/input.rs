//! Bytes taken apart by lines, so that corpora can be read and written by hand.

use http::{HeaderMap, HeaderName, HeaderValue};

/// What is left of the bytes.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let (line, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        line
    }

    /// The next line as text; what is not UTF-8 is empty.
    pub(crate) fn text(&mut self) -> &'a str {
        std::str::from_utf8(self.line()).unwrap_or_default()
    }

    /// The next line as a small number.
    pub(crate) fn number(&mut self) -> usize {
        self.text().parse::<u16>().unwrap_or_default().into()
    }

    /// Fields up to an empty line, those that HTTP could carry.
    pub(crate) fn headers(&mut self) -> HeaderMap {
        const MOST: usize = 100;
        let mut headers = HeaderMap::new();
        while !self.0.is_empty() && headers.len() < MOST {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let at = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
            let value = line.get(at + 1..).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value);
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(&line[..at]), HeaderValue::from_bytes(value))
            {
                headers.append(name, value);
            }
        }
        headers
    }
}
