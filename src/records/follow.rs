//! What is written into a log from now on, across rotations.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::files::{Files, identity};
use super::lines::Lines;
use super::reading::{Each, Ends, Pass, Query, Tally};

/// A place in a log. Each look goes on where the one before ended.
#[derive(Debug)]
pub struct Follower {
    log: PathBuf,
    file: Option<File>,
    /// Keeps a line that is not finished yet.
    lines: Lines,
}

impl Follower {
    /// From the end of what is there now; a line that is being written counts from the next one.
    ///
    /// # Errors
    /// The file cannot be read. That there is none yet is no error.
    pub fn at_end(log: &Path) -> std::io::Result<Self> {
        let mut follower = Self { log: log.to_owned(), file: None, lines: Lines::default() };
        match File::open(log) {
            Ok(mut file) => {
                // From the last byte: it is a line feed, or part of a line that is not wanted.
                if let Some(last) = file.seek(SeekFrom::End(0))?.checked_sub(1) {
                    file.seek(SeekFrom::Start(last))?;
                    follower.lines.restart_within();
                }
                follower.file = Some(file);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(follower)
    }

    /// Hands what came since the last look to `each`.
    ///
    /// # Errors
    /// As the file system says; a later look may work.
    pub fn look(&mut self, query: &Query, each: &mut Each<'_>) -> std::io::Result<Tally> {
        let mut pass = Pass { query, each, lines: std::mem::take(&mut self.lines), tally: Tally::default() };
        let done = self.look_with(&mut pass);
        self.lines = pass.lines;
        done.map(|()| pass.tally)
    }

    fn look_with(&mut self, pass: &mut Pass<'_, '_>) -> std::io::Result<()> {
        // Asked before reading. A new file counts once it has a line: until then the process may still write into the old one.
        let named = std::fs::metadata(&self.log).ok().filter(|it| it.len() > 0).map(|it| identity(&it));
        let mut own = None;
        if let Some(file) = &mut self.file {
            let metadata = file.metadata()?;
            own = Some(identity(&metadata));
            if metadata.len() < file.stream_position()? {
                // Cut short, as by logrotate's copytruncate.
                file.seek(SeekFrom::Start(0))?;
                pass.lines.restart();
            }
            let _flow = pass.stream(file, Ends::ForNow)?;
        }
        if named.is_some() && named != own {
            self.file = go_on(&self.log, own, pass)?;
        }
        Ok(())
    }
}

/// Reads what was rotated since the file `own` was the current one, then the current one, which is given back.
fn go_on(log: &Path, own: Option<(u64, u64)>, pass: &mut Pass<'_, '_>) -> std::io::Result<Option<File>> {
    let Files { rotated, mut current, .. } = Files::of(log)?;
    let is_own = |path: &Path| std::fs::metadata(path).is_ok_and(|it| Some(identity(&it)) == own);
    if let Some(at) = rotated.iter().position(|older| is_own(&older.path)) {
        for older in rotated.iter().skip(at + 1) {
            let _flow = pass.older(&older.path);
        }
    }
    pass.lines.restart();
    if let Some(file) = &mut current {
        let _flow = pass.stream(file, Ends::ForNow)?;
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::ops::ControlFlow;

    fn line(name: &str) -> String {
        format!("{{\"time\":\"2026-11-22T10:00:00.000Z\",\"path\":\"/{name}\"}}\n")
    }

    fn look(follower: &mut Follower) -> Vec<String> {
        let mut found = Vec::new();
        let tally = follower.look(&Query::default(), &mut |it| {
            found.push(it.record.path.into_owned());
            ControlFlow::Continue(())
        });
        assert_eq!(tally.unwrap().broken, 0);
        found
    }

    #[test]
    fn lines_come_once_across_rotations_and_cuts() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        let add = |text: &str| {
            File::options().create(true).append(true).open(&log).unwrap().write_all(text.as_bytes()).unwrap();
        };
        let rotate = |second: u32| {
            std::fs::rename(&log, folder.path().join(format!("access-20261122T1000{second:02}Z.ndjson")))
                .unwrap();
        };
        let mut follower = Follower::at_end(&log).unwrap();
        assert_eq!(look(&mut follower), [""; 0], "there is no file yet");
        add(&line("a"));
        assert_eq!(look(&mut follower), ["/a"]);
        assert_eq!(look(&mut follower), [""; 0]);
        let (half, rest) = (line("b")[..30].to_owned(), line("b")[30..].to_owned());
        add(&half);
        assert_eq!(look(&mut follower), [""; 0], "a line that is not finished waits");
        add(&rest);
        assert_eq!(look(&mut follower), ["/b"]);
        add(&line("c"));
        rotate(1);
        add(&line("d"));
        rotate(2);
        add(&line("e"));
        rotate(3);
        add(&line("f"));
        assert_eq!(look(&mut follower), ["/c", "/d", "/e", "/f"]);
        assert_eq!(look(&mut follower), [""; 0]);
        File::options().write(true).truncate(true).open(&log).unwrap();
        assert_eq!(look(&mut follower), [""; 0]);
        add(&line("g"));
        assert_eq!(look(&mut follower), ["/g"], "cut short and written anew");
    }

    #[test]
    fn what_comes_into_a_file_that_was_moved_away_is_seen_too() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        std::fs::write(&log, line("a")).unwrap();
        let mut follower = Follower::at_end(&log).unwrap();
        let mut writer = File::options().append(true).open(&log).unwrap();
        std::fs::rename(&log, folder.path().join("access.ndjson.1")).unwrap();
        let mut next = File::create(&log).unwrap();
        assert_eq!(look(&mut follower), [""; 0]);
        // The process has not heard of it yet.
        writer.write_all(line("b").as_bytes()).unwrap();
        assert_eq!(look(&mut follower), ["/b"]);
        writer.write_all(line("c").as_bytes()).unwrap();
        next.write_all(line("d").as_bytes()).unwrap();
        assert_eq!(look(&mut follower), ["/c", "/d"]);
    }

    #[test]
    fn it_begins_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.ndjson");
        std::fs::write(&log, line("a")).unwrap();
        let mut follower = Follower::at_end(&log).unwrap();
        assert_eq!(look(&mut follower), [""; 0]);
        std::fs::write(&log, line("a") + &line("b")).unwrap();
        assert_eq!(look(&mut follower), ["/b"]);
        std::fs::write(&log, line("a") + &line("b") + "{\"ti").unwrap();
        let mut follower = Follower::at_end(&log).unwrap();
        std::fs::write(&log, line("a") + &line("b") + "{\"time\n" + &line("c")).unwrap();
        assert_eq!(look(&mut follower), ["/c"], "what was begun before is passed over");
    }
}
