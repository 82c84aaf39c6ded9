//! The process that goes.

use std::convert::Infallible;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::estate::{Estate, ToldSoFar};
use super::taking::TAKES_OVER;
use super::words::{MOST_SOCKETS, Spot, Word, line, send_sockets, word};
use crate::reload::keeper::Keeper;

/// Longest line of the new process, in bytes.
const MOST_LINE: u64 = 64 * 1024;
/// What systemd and a supervisor told this process is not for the next one.
const NOT_FOR_IT: [&str; 4] = ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What is handed over, and how long the new process may take.
#[derive(Debug)]
pub(in crate::server) struct Giver {
    pub(in crate::server) sockets: Vec<(Spot, RawFd)>,
    pub(in crate::server) limit: Duration,
}

/// Time between two tellings of what was learnt since.
const NEWS_EVERY: Duration = Duration::from_millis(50);
/// A new process that does not listen is told no more.
const DEAF: Duration = Duration::from_secs(2);

/// Why an upgrade did not come about.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum NoUpgrade {
    /// The first process of a container, whose end ends the container.
    #[error("this is the first process of a container, which ends with it: start a new container")]
    First,
    /// The demonstration has nothing to upgrade.
    #[error("this process was not started by 'sidelock run'")]
    NotRun,
    /// More listeners than can be handed over.
    #[error("more than {MOST_SOCKETS} listeners cannot be handed over")]
    TooMany,
    /// One is under way.
    #[error("an upgrade is under way")]
    UnderWay,
    /// The process before this one still tells what it learns: a third would not hear it.
    #[error("the previous process is still ending: try again when it has ended")]
    Predecessor,
    /// The process was told to end.
    #[error("the process is ending")]
    Ending,
    /// The program cannot be started.
    #[error("the program cannot be started: {0}")]
    Start(io::Error),
    /// It could not be talked to.
    #[error("the new process could not be talked to: {0}")]
    Talk(io::Error),
    /// It ended.
    #[error("the new process ended; see the log")]
    Ended,
    /// It took too long.
    #[error("the new process was not ready within {0:?}")]
    Late(Duration),
    /// It is another program.
    #[error("the new process does not hand over as this one does")]
    OutOfTurn,
    /// It told why it cannot run.
    #[error("{0}")]
    Told(String),
}

impl From<io::Error> for NoUpgrade {
    fn from(error: io::Error) -> Self {
        if matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) {
            Self::Ended
        } else {
            Self::Talk(error)
        }
    }
}

/// A new process, not trusted to run yet: dropping it kills it.
#[derive(Debug)]
struct Candidate(Option<Child>);

/// A new process that runs, and is told what this one learns until it ends.
#[derive(Debug)]
pub(in crate::server) struct Successor {
    pub(in crate::server) pid: u32,
    talk: BufReader<UnixStream>,
    estate: Estate,
    told: ToldSoFar,
}

impl Successor {
    /// Tells what is new, for as long as this is polled.
    pub(in crate::server) async fn keep_telling(&mut self) -> Infallible {
        loop {
            tokio::time::sleep(NEWS_EVERY).await;
            let news = self.estate.deliveries(&mut self.told);
            self.tell(news).await;
        }
    }

    /// Tells the rest.
    pub(in crate::server) async fn farewell(mut self) {
        let mut news = self.estate.deliveries(&mut self.told);
        news.extend(self.estate.keys());
        news.push(self.estate.bans());
        self.tell(news).await;
    }

    async fn tell(&mut self, news: Vec<Word>) {
        for word in news {
            let telling = async { self.talk.write_all(&line(&word)?).await };
            if !matches!(timeout(DEAF, telling).await, Ok(Ok(()))) {
                // Half a word may be said: no more.
                drop(self.talk.get_mut().shutdown().await);
                return;
            }
        }
    }
}

impl Drop for Candidate {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill());
            bury(child);
        }
    }
}

/// Takes note of a child's end, whenever it comes.
fn bury(mut child: Child) {
    let waiting = std::thread::Builder::new().name("upgrade".into()).spawn(move || drop(child.wait()));
    if let Err(error) = waiting {
        tracing::debug!(%error, "nobody waits for the new process");
    }
}

impl Giver {
    /// Starts the program anew and hands over to it.
    ///
    /// # Errors
    /// Why this process goes on. The new one is gone then.
    pub(in crate::server) async fn hand_over(
        &self,
        estate: &Estate,
        keeper: &Keeper,
    ) -> Result<Successor, NoUpgrade> {
        if std::process::id() == 1 {
            return Err(NoUpgrade::First);
        }
        if self.sockets.len() > MOST_SOCKETS {
            return Err(NoUpgrade::TooMany);
        }
        let (ours, theirs) = StdUnixStream::pair()?;
        let child = start(theirs.into()).map_err(NoUpgrade::Start)?;
        let pid = child.id();
        let mut candidate = Candidate(Some(child));
        let (spots, descriptors): (Vec<Spot>, Vec<RawFd>) = self.sockets.iter().cloned().unzip();
        send_sockets(&ours, &descriptors)?;
        ours.set_nonblocking(true)?;
        let mut talk = BufReader::new(UnixStream::from_std(ours)?);
        let mut told = ToldSoFar::default();
        let talking = async {
            talk.write_all(&line(&Word::Sockets(spots))?).await?;
            expect(&mut talk, |word| matches!(word, Word::Prepared)).await?;
            keeper.keep();
            for word in [estate.bans()].into_iter().chain(estate.deliveries(&mut told)).chain([Word::Go]) {
                talk.write_all(&line(&word)?).await?;
            }
            expect(&mut talk, |word| matches!(word, Word::Running)).await
        };
        timeout(self.limit, talking).await.map_err(|_| NoUpgrade::Late(self.limit))??;
        if let Some(child) = candidate.0.take() {
            bury(child);
        }
        Ok(Successor { pid, talk, estate: estate.clone(), told })
    }
}

/// The program as this process was started: by the name that was typed, so that a replaced file or link is what starts.
fn start(talk: OwnedFd) -> io::Result<Child> {
    let mut typed = std::env::args_os();
    let program = typed.next().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    command.args(typed).env(TAKES_OVER, "1").stdin(Stdio::from(talk));
    for name in NOT_FOR_IT {
        command.env_remove(name);
    }
    command.spawn()
}

async fn expect(talk: &mut BufReader<UnixStream>, fits: impl Fn(&Word) -> bool) -> Result<(), NoUpgrade> {
    let mut line = Vec::new();
    (&mut *talk).take(MOST_LINE).read_until(b'\n', &mut line).await?;
    if !line.ends_with(b"\n") {
        return Err(NoUpgrade::Ended);
    }
    let word = word(&line)?;
    if fits(&word) {
        return Ok(());
    }
    Err(if let Word::Failed(why) = word { NoUpgrade::Told(why) } else { NoUpgrade::OutOfTurn })
}
