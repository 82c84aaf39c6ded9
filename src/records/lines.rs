//! Lines out of a stream of bytes, through one buffer.

use std::io::Read;

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;
/// Longest line: twice the largest request head.
pub const MOST_LINE: usize = 2 * 1024 * 1024;

/// A buffer over a source. It grows with the longest line, at most to [`MOST_LINE`].
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    /// What is in the buffer and was not given out.
    start: usize,
    end: usize,
    skipping: Skipping,
}

/// What is passed over up to the next line feed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Skipping {
    #[default]
    Nothing,
    /// The rest of a line that is too long.
    Overlong,
    /// The rest of a line whose beginning was not asked for.
    Rest,
}

/// What came next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A line, without its line feed.
    Line(&'a [u8]),
    /// A line over [`MOST_LINE`], which was passed over.
    Overlong,
    /// The end; with the beginning of a line, if there is one that has no line feed yet.
    End(&'a [u8]),
}

impl Default for Lines {
    fn default() -> Self {
        Self { buffer: vec![0; CHUNK], start: 0, end: 0, skipping: Skipping::Nothing }
    }
}

impl Lines {
    /// Forgets what was read, for another source or another place in it where a line begins.
    pub fn restart(&mut self) {
        (self.start, self.end, self.skipping) = (0, 0, Skipping::Nothing);
    }

    /// The same for a place within a line, whose rest is passed over.
    pub fn restart_within(&mut self) {
        (self.start, self.end, self.skipping) = (0, 0, Skipping::Rest);
    }

    /// The next line of `source`. After the end, more may come: what has no line feed yet is kept.
    ///
    /// # Errors
    /// As the source says.
    pub fn next(&mut self, source: &mut impl Read) -> std::io::Result<Next<'_>> {
        let mut looked = 0;
        loop {
            let waiting = self.buffer.get(self.start..self.end).unwrap_or_default();
            match memchr::memchr(b'\n', waiting.get(looked..).unwrap_or_default()) {
                Some(found) => {
                    let (start, end) = (self.start, self.start + looked + found);
                    self.start = end + 1;
                    match std::mem::take(&mut self.skipping) {
                        Skipping::Nothing => {
                            return Ok(Next::Line(self.buffer.get(start..end).unwrap_or_default()));
                        }
                        Skipping::Overlong => return Ok(Next::Overlong),
                        Skipping::Rest => {
                            looked = 0;
                            continue;
                        }
                    }
                }
                None => looked = waiting.len(),
            }
            self.make_room();
            if self.end == 0 {
                looked = 0;
            }
            let space = self.buffer.get_mut(self.end..).unwrap_or_default();
            let read = match source.read(space) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if read == 0 {
                return Ok(Next::End(self.buffer.get(self.start..self.end).unwrap_or_default()));
            }
            self.end += read;
        }
    }

    /// Moves what waits to the front. Where it fills the buffer, that grows, or the line is given up.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.skipping != Skipping::Nothing {
            self.end = 0;
        } else if self.end >= MOST_LINE {
            (self.skipping, self.end) = (Skipping::Overlong, 0);
        } else if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives at most `step` bytes at once.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let step = self.1.min(into.len());
            self.0.take(step as u64).read(into).inspect(|read| self.0 = &self.0[*read..])
        }
    }

    fn all(bytes: &[u8], step: usize) -> (Vec<Vec<u8>>, usize, Vec<u8>) {
        let (mut lines, mut source) = (Lines::default(), Slow(bytes, step));
        let (mut found, mut overlong) = (Vec::new(), 0);
        loop {
            match lines.next(&mut source).unwrap() {
                Next::Line(line) => found.push(line.to_vec()),
                Next::Overlong => overlong += 1,
                Next::End(rest) => return (found, overlong, rest.to_vec()),
            }
        }
    }

    #[test]
    fn lines_come_whole_however_they_are_read() {
        let text = "a\n\nbcd\nlast";
        for step in [1, 2, 3, 100] {
            let (found, overlong, rest) = all(text.as_bytes(), step);
            assert_eq!(found, [b"a".to_vec(), b"".to_vec(), b"bcd".to_vec()]);
            assert_eq!((overlong, rest), (0, b"last".to_vec()));
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_memory_is_bounded() {
        for (length, overlong) in [(CHUNK, 0), (MOST_LINE - 1, 0), (MOST_LINE, 1), (5 * MOST_LINE + 7, 1)] {
            let text = [&b"x\n"[..], &vec![b'y'; length], b"\nz\n"].concat();
            let (found, counted, rest) = all(&text, CHUNK);
            assert_eq!((found.len(), counted, rest.len()), (3 - overlong, overlong, 0), "{length}");
            assert_eq!(
                (found.first().unwrap().as_slice(), found.last().unwrap().as_slice()),
                (&b"x"[..], &b"z"[..])
            );
        }
    }

    #[test]
    fn what_was_cut_goes_on_where_more_comes() {
        let mut lines = Lines::default();
        assert_eq!(lines.next(&mut &b"ab"[..]).unwrap(), Next::End(b"ab"));
        assert_eq!(lines.next(&mut &b"c\nd"[..]).unwrap(), Next::Line(b"abc"));
        assert_eq!(lines.next(&mut &b""[..]).unwrap(), Next::End(b"d"));
        lines.restart_within();
        assert_eq!(lines.next(&mut &b"ab"[..]).unwrap(), Next::End(b""));
        assert_eq!(lines.next(&mut &b"c\nd\n"[..]).unwrap(), Next::Line(b"d"));
    }
}
