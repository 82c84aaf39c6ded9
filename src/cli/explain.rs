//! `sidelock explain`: what the gate would say to a request, step by step, and what would have to change.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::keys::find_key;
use super::terminal::plain;
use super::{Failure, show, tally};
use crate::clock::{Clock, WallTime};
use crate::config::environment::Environment;
use crate::config::load::{Loaded, load};
use crate::keys::key::Key;
use crate::trial::advice::advice;
use crate::trial::court::{Asker, Body, Court, Judgement, Question, Verdict};
use crate::trial::walk::{Finding, Step, walk};

/// Largest body that is read, in bytes: more than any that decides.
const MOST_BODY: u64 = 16 * 1024 * 1024;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// The method, as GET
    #[arg(value_name = "METHOD", required = true)]
    method: Option<Method>,
    /// The path, and a query if it matters
    #[arg(value_name = "PATH", required = true)]
    path: Option<String>,
    /// Whose key is presented; nobody's without it
    #[arg(long, value_name = "ID|TITLE")]
    key: Option<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// When it comes, as 2027-02-20T10:00:00Z; now without it
    #[arg(long, value_name = "TIME")]
    at: Option<At>,
    /// Its body, where that decides
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The body's Content-Type
    #[arg(long, value_name = "TYPE", requires = "body", default_value = "application/json")]
    content_type: HeaderValue,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A moment, as typed.
#[derive(Clone, Copy, Debug)]
struct At(WallTime);

impl std::str::FromStr for At {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let moment: jiff::Timestamp =
            text.parse().map_err(|_| "expected a moment such as '2027-02-20T10:00:00Z'")?;
        Ok(Self(WallTime::from_unix_millis(moment.as_millisecond())))
    }
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let loading = load(path, &Environment::Unread);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(tally(&loading)));
    };
    let court = court(loaded)?;
    let (Some(method), Some(target)) = (&opts.method, &opts.path) else {
        return Err(Failure::Failed("name a method and a path".to_owned()));
    };
    let key = opts.key.as_deref().map(|named| find_key(&loaded.keys.keys, named)).transpose()?;
    let key = key.map(|(_, key)| key);
    // Nothing is hidden in the body of a request that has none.
    let has_none = matches!(*method, Method::GET | Method::HEAD).then(Vec::new);
    let body = opts.body.as_deref().map(read_body).transpose()?.or(has_none);
    let question = Question {
        method,
        target,
        asker: key.map_or(Asker::Stranger, |key| Asker::Key(&key.id)),
        from: opts.from,
        at: opts.at.map_or_else(|| Clock::system().wall(), |At(at)| at),
        body: body.as_deref().map(|bytes| Body { bytes, content_type: &opts.content_type }),
    };
    Explanation::of(&court, &question, key).print(opts.json)
}

fn court(loaded: &Loaded) -> Result<Court, Failure> {
    Court::new(&loaded.config, &loaded.keys.keys).map_err(|error| Failure::Failed(error.to_string()))
}

fn read_body(path: &Path) -> Result<Vec<u8>, Failure> {
    let refuse = |why: String| Failure::Failed(format!("{}: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| refuse(error.to_string()))?.len();
    if size > MOST_BODY {
        return Err(refuse(format!("over {MOST_BODY} bytes")));
    }
    std::fs::read(path).map_err(|error| refuse(error.to_string()))
}

/// A judgement in words.
struct Explanation<'a> {
    question: &'a Question<'a>,
    key: Option<&'a Key>,
    judgement: Judgement,
    steps: Vec<Step>,
    advice: Vec<String>,
}

impl<'a> Explanation<'a> {
    fn of(court: &'a Court, question: &'a Question<'a>, key: Option<&'a Key>) -> Self {
        let judgement = court.judge(question);
        let steps = walk(court, question, &judgement);
        let advice = advice(court, question, &judgement);
        Self { question, key, judgement, steps, advice }
    }

    fn print(&self, as_json: bool) -> Result<(), Failure> {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        if as_json {
            writeln!(out, "{}", self.json())?;
        } else {
            self.text(&mut out)?;
        }
        Ok(out.flush()?)
    }

    fn text(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Question { method, target, from, at, .. } = self.question;
        let who = self
            .key
            .map_or_else(|| "without a key".to_owned(), |key| format!("with key {}", key.id.as_str()));
        writeln!(out, "{method} {} {who} from {from} at {}\n", plain(target), at.rfc3339())?;
        for Step { name, finding, by } in &self.steps {
            let mark = match finding {
                Finding::Passed => "ok",
                Finding::Refused => "REFUSED",
                Finding::Observed => "observed",
                Finding::NotJudged => "?",
            };
            writeln!(out, "  {mark:<8}  {:<12} {}", name.word().replace('_', " "), plain(by))?;
        }
        writeln!(out, "\n{}", plain(&self.conclusion()))?;
        self.advice.iter().try_for_each(|sentence| writeln!(out, "  - {}", plain(sentence)))
    }

    fn conclusion(&self) -> String {
        match &self.judgement.verdict {
            Verdict::Allowed { observed: Some(observed), .. } => {
                format!("allowed, and counted as observed: {}", observed.reason())
            }
            Verdict::Allowed { scope: Some(scope), .. } => format!("allowed by the scope {}", scope.as_str()),
            Verdict::Allowed { scope: None, .. } => "allowed: no key is needed".to_owned(),
            Verdict::Refused(denial) => {
                let reason = self.judgement.reason().unwrap_or_default();
                format!("refused: {} {reason} ({})", denial.status().as_u16(), denial.title())
            }
            Verdict::Open(_) => "not decided by what is known here".to_owned(),
        }
    }

    fn json(&self) -> Value {
        let Question { method, target, from, at, .. } = self.question;
        let (allowed, denial, scope, observed) = match &self.judgement.verdict {
            Verdict::Allowed { scope, observed } => (Some(true), None, scope.as_ref(), *observed),
            Verdict::Refused(denial) => (Some(false), Some(*denial), None, None),
            Verdict::Open(_) => (None, None, None, None),
        };
        let steps: Vec<Value> = self
            .steps
            .iter()
            .map(|step| json!({ "step": step.name.word(), "verdict": step.finding.word(), "by": step.by }))
            .collect();
        json!({
            "method": method.as_str(),
            "path": target,
            "key": self.key.map(|key| key.id.as_str()),
            "from": from.to_string(),
            "at": at.rfc3339(),
            "allowed": allowed,
            "status": denial.map(|denial| denial.status().as_u16()),
            "reason": self.judgement.reason(),
            "scope": scope.map(|scope| scope.as_str()),
            "observed": observed.map(|observed| observed.reason()),
            "route": &**self.judgement.trail.stats.name(),
            "steps": steps,
            "advice": self.advice,
        })
    }
}
