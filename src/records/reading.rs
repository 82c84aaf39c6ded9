//! Every record of a span of time, out of all files of a log.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use memchr::memmem::Finder;

use super::files::Files;
use super::line::{Record, leading_stamp, sorting_stamp};
use super::lines::{Lines, Next};
use crate::clock::WallTime;

/// Lines may be out of order by this: a clock that was set back, requests that waited for the log's lock.
const DISORDER: Duration = Duration::from_secs(15 * 60);
/// The search for a beginning stops at this many bytes: reading them is as fast.
const NEAR: u64 = 1024 * 1024;
/// Bytes in which the search looks for a whole line.
const PROBE: u64 = 64 * 1024;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Query {
    since: Option<WallTime>,
    until: Option<WallTime>,
    /// The same as text, for lines whose time stands where it usually does.
    since_text: Option<Vec<u8>>,
    until_text: Option<Vec<u8>>,
    needles: Vec<Finder<'static>>,
}

/// A record and the line that it was read from.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its value.
    pub record: Record<'a>,
    /// The line as it stands in the file, without its line feed.
    pub line: &'a [u8],
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that were looked at.
    pub lines: u64,
    /// Lines that are none of the log's: torn, or of something else.
    pub broken: u64,
    /// Lines that are too long to be the log's.
    pub overlong: u64,
    /// Files that could not be read to their end, each with what the system said.
    pub unreadable: Vec<String>,
    /// Files that somebody compressed; they were not read.
    pub compressed: usize,
}

impl Query {
    /// Records with `since <= time < until`.
    pub fn new(since: Option<WallTime>, until: Option<WallTime>) -> Self {
        let text = |moment: Option<WallTime>| moment.and_then(sorting_stamp);
        Self { since, until, since_text: text(since), until_text: text(until), needles: Vec::new() }
    }

    /// Lines without this text are passed over before they are parsed. It is no proof: whoever asks must still look at the
    /// record.
    #[must_use]
    pub fn holding(mut self, text: &str) -> Self {
        self.needles.push(Finder::new(text.as_bytes()).into_owned());
        self
    }

    /// False for lines that can be passed over without parsing them.
    fn may_fit(&self, line: &[u8]) -> bool {
        if let Some(stamp) = leading_stamp(line)
            && (self.since_text.as_deref().is_some_and(|since| stamp < since)
                || self.until_text.as_deref().is_some_and(|until| stamp >= until))
        {
            return false;
        }
        self.needles.iter().all(|needle| needle.find(line).is_some())
    }

    fn fits(&self, record: &Record<'_>) -> bool {
        self.since.is_none_or(|since| record.time >= since)
            && self.until.is_none_or(|until| record.time < until)
    }
}

/// Who is handed each record.
pub type Each<'e> = dyn FnMut(Found<'_>) -> ControlFlow<()> + 'e;

/// Hands every record that fits `query` to `each`, oldest file first, until it breaks.
///
/// Lines that are not the log's are counted, never fatal. A line that is not finished yet, at the end of the current file, is
/// left for later.
///
/// # Errors
/// There is no log, or its folder cannot be read.
pub fn read(log: &Path, query: &Query, each: &mut Each<'_>) -> std::io::Result<Tally> {
    let Files { rotated, current, compressed } = Files::of(log)?;
    let tally = Tally { compressed: compressed.len(), ..Tally::default() };
    let mut pass = Pass { query, each, lines: Lines::default(), tally };
    let earliest = query.since.map(|since| since.before(DISORDER));
    for older in rotated.iter().filter(|older| earliest.is_none_or(|earliest| older.ended >= earliest)) {
        if pass.older(&older.path).is_break() {
            return Ok(pass.tally);
        }
    }
    if let Some(mut file) = current
        && let Err(error) = pass.file(&mut file, Ends::ForNow)
    {
        pass.tally.unreadable.push(format!("{}: {error}", log.display()));
    }
    Ok(pass.tally)
}

/// The same for a stream of lines that has no files, as from journald.
///
/// # Errors
/// As the source says.
pub fn read_stream(source: &mut impl Read, query: &Query, each: &mut Each<'_>) -> std::io::Result<Tally> {
    let mut pass = Pass { query, each, lines: Lines::default(), tally: Tally::default() };
    let _finished = pass.stream(source, Ends::ForGood)?;
    Ok(pass.tally)
}

/// Whether more can be written behind a file's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    ForGood,
    ForNow,
}

pub(super) struct Pass<'q, 'e> {
    pub(super) query: &'q Query,
    pub(super) each: &'q mut Each<'e>,
    pub(super) lines: Lines,
    pub(super) tally: Tally,
}

impl Pass<'_, '_> {
    /// A file that is written no more. That it cannot be read is noted.
    pub(super) fn older(&mut self, path: &Path) -> ControlFlow<()> {
        match File::open(path).and_then(|mut file| self.file(&mut file, Ends::ForGood)) {
            Ok(flow) => return flow,
            // Retention took it in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => self.tally.unreadable.push(format!("{}: {error}", path.display())),
        }
        ControlFlow::Continue(())
    }

    fn file(&mut self, file: &mut File, ends: Ends) -> std::io::Result<ControlFlow<()>> {
        let place = self.query.since.map_or(Ok(0), |since| beginning(file, since.before(DISORDER)))?;
        file.seek(SeekFrom::Start(place))?;
        if place == 0 {
            self.lines.restart()
        } else {
            self.lines.restart_within()
        }
        self.stream(file, ends)
    }

    pub(super) fn stream(&mut self, source: &mut impl Read, ends: Ends) -> std::io::Result<ControlFlow<()>> {
        loop {
            let (line, is_last) = match self.lines.next(source)? {
                Next::Line(line) => (line, false),
                Next::Overlong => {
                    self.tally.lines += 1;
                    self.tally.overlong += 1;
                    continue;
                }
                Next::End(rest) => (rest, true),
            };
            if !is_last || (ends == Ends::ForGood && !line.is_empty()) {
                self.tally.lines += 1;
                if judge(line, self.query, self.each, &mut self.tally).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            if is_last {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }
}

fn judge(line: &[u8], query: &Query, each: &mut Each<'_>, tally: &mut Tally) -> ControlFlow<()> {
    if !query.may_fit(line) {
        return ControlFlow::Continue(());
    }
    match Record::of(line) {
        Err(_) => tally.broken += 1,
        Ok(record) if !query.fits(&record) => {}
        Ok(record) => return each(Found { record, line }),
    }
    ControlFlow::Continue(())
}

/// A place in the file before which every line was written before `earliest`, by halving. Near enough, not exact.
fn beginning(file: &mut File, earliest: WallTime) -> std::io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    if high <= NEAR {
        return Ok(0);
    }
    // What was written before the file began was written by a wrong clock, and tells nothing of what stands before it.
    let began = written_after(file, 0)?.map(|first| first.before(DISORDER)).unwrap_or_default();
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        match written_after(file, middle)? {
            Some(written) if began <= written && written < earliest => low = middle,
            // Where no line can be read, the search goes on towards the beginning: that loses nothing.
            Some(_) | None => high = middle,
        }
    }
    Ok(low)
}

/// When the first line after `place` was written.
fn written_after(file: &mut File, place: u64) -> std::io::Result<Option<WallTime>> {
    file.seek(SeekFrom::Start(place))?;
    let mut bytes = Vec::new();
    file.by_ref().take(PROBE).read_to_end(&mut bytes)?;
    let mut whole = bytes.split(|byte| *byte == b'\n').skip(1);
    Ok(whole.find_map(|line| Some(Record::of(line).ok()?.written())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(secs: i64, us: u64, path: &str) -> String {
        let at = WallTime::from_unix_secs(1_795_341_600 + secs).rfc3339();
        let time = at.trim_end_matches('Z');
        format!("{{\"time\":\"{time}.000Z\",\"id\":\"0\",\"path\":\"{path}\",\"us\":{us}}}\n")
    }

    fn moment(secs: i64) -> Option<WallTime> {
        Some(WallTime::from_unix_secs(1_795_341_600 + secs))
    }

    fn paths(log: &Path, query: &Query) -> (Vec<String>, Tally) {
        let mut found = Vec::new();
        let tally = read(log, query, &mut |it| {
            found.push(it.record.path.into_owned());
            ControlFlow::Continue(())
        });
        (found, tally.unwrap())
    }

    #[test]
    fn a_span_of_time_out_of_a_large_file() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        let mut file = std::io::BufWriter::new(File::create(&log).unwrap());
        let filler = "x".repeat(200);
        for second in 0..40_000_i64 {
            file.write_all(line(second, 0, &format!("/{second}/{filler}")).as_bytes()).unwrap();
            // Ten minutes late, and one that took nine hours.
            if second == 30_000 {
                file.write_all(line(second - 600, 0, "/late").as_bytes()).unwrap();
            }
            if second == 35_000 {
                file.write_all(line(0, 35_000_000_000, "/long").as_bytes()).unwrap();
            }
        }
        file.flush().unwrap();
        let (all, whole) = paths(&log, &Query::new(None, None));
        assert_eq!((all.len(), whole.lines), (40_002, 40_002));
        for since in [0, 1, 29_400, 29_401, 39_999, 40_000] {
            let query = Query::new(moment(since), None);
            let (found, tally) = paths(&log, &query);
            let late = usize::from(since <= 29_400) + usize::from(since == 0);
            assert_eq!(found.len(), usize::try_from(40_000 - since).unwrap() + late, "{since}");
            assert!(since < 20_000 || tally.lines < 25_000, "the beginning is skipped: {}", tally.lines);
            assert_eq!(tally.broken, 0);
        }
        let (found, _) = paths(&log, &Query::new(moment(0), moment(1)));
        assert_eq!(found.len(), 2, "the long one, written nine hours later, is found");
        let (found, _) = paths(&log, &Query::new(None, None).holding("/long"));
        assert_eq!(found, ["/long"]);
    }

    #[test]
    fn a_clock_that_was_set_back_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        let filler = "x".repeat(200);
        let second = |number: i64| number / 10 - if number < 20_000 { 0 } else { 800 };
        let text: String = (0..40_000).map(|number| line(second(number), 0, &filler)).collect();
        std::fs::write(&log, text).unwrap();
        let (found, tally) = paths(&log, &Query::new(moment(1_500), None));
        assert_eq!(found.len(), 22_000);
        assert!(tally.lines < 40_000, "{}", tally.lines);
    }

    #[test]
    fn a_clock_that_was_wrong_for_a_while_hides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        let filler = "x".repeat(200);
        let wrong = |number| if (20_000..30_000).contains(&number) { 864_000 } else { 0 };
        let text: String = (0..40_000).map(|number| line(number / 10 - wrong(number), 0, &filler)).collect();
        std::fs::write(&log, text).unwrap();
        let (found, _) = paths(&log, &Query::new(moment(1_500), None));
        assert_eq!(found.len(), 15_000);
    }

    #[test]
    fn what_is_no_line_is_counted_and_the_unfinished_end_waits() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        let older = folder.path().join("access-20261122T100000Z.ndjson");
        let torn = line(1, 0, "/torn");
        std::fs::write(&older, format!("{}\0\0\n{{}}\n{}", line(0, 0, "/a"), torn.get(..40).unwrap()))
            .unwrap();
        let rest = torn.get(..60).unwrap();
        std::fs::write(&log, format!("{}rubbish\n\n{rest}", line(2, 0, "/b"))).unwrap();
        let (found, tally) = paths(&log, &Query::default());
        assert_eq!(found, ["/a", "/b"]);
        assert_eq!((tally.lines, tally.broken, tally.overlong), (7, 5, 0));
        // A whole file is skipped by its name.
        let (found, tally) = paths(&log, &Query::new(moment(16 * 60), None));
        assert_eq!((found.len(), tally.lines), (0, 3));
        std::fs::remove_file(&log).unwrap();
        assert_eq!(paths(&log, &Query::default()).0, ["/a"], "a log without a current file");
        std::fs::remove_file(&older).unwrap();
        assert!(read(&log, &Query::default(), &mut |_| ControlFlow::Continue(())).is_err());
    }

    #[test]
    fn a_file_that_cannot_be_read_hides_no_other_one() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        std::fs::write(&log, line(0, 0, "/a")).unwrap();
        // A folder in the place of the current file can be opened, but not read.
        let other = folder.path().join("other.ndjson");
        std::fs::create_dir(&other).unwrap();
        std::fs::write(folder.path().join("other-20261122T100000Z.ndjson"), line(0, 0, "/c")).unwrap();
        let (found, tally) = paths(&other, &Query::default());
        assert_eq!((found.as_slice(), tally.unreadable.len()), (["/c".to_owned()].as_slice(), 1));
        assert_eq!(paths(&log, &Query::default()).0, ["/a"]);
    }
}
