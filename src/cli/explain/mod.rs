//! `sidelock explain`: what the gate would say to a request, step by step, and what would have to change.

mod past;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::keys::arguments::client_cert;
use super::keys::find_key;
use super::moment::When;
use super::terminal::{json_plain, plain};
use super::{Failure, show, tally};
use crate::clock::{Clock, WallTime};
use crate::config::Config;
use crate::config::environment::Environment;
use crate::config::load::load;
use crate::keys::key::Key;
use crate::trial::advice::advice;
use crate::trial::court::{Asker, Body, Court, Judgement, Question, Shown, Verdict};
use crate::trial::step::{Finding, Step};
use crate::trial::walk::walk;

/// Largest body that is read, in bytes: more than any that decides.
const MOST_BODY: u64 = 16 * 1024 * 1024;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// The method, as GET
    #[arg(value_name = "METHOD", required_unless_present = "request_id")]
    method: Option<Method>,
    /// The path, and a query if it matters
    #[arg(value_name = "PATH", required_unless_present = "request_id")]
    path: Option<String>,
    /// Whose key is presented; nobody's without it
    #[arg(long, value_name = "ID|TITLE")]
    key: Option<String>,
    /// The client's address
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// The client certificate that is shown: its PEM file, or sha256:<fingerprint> or san:<name> where that is all that is known;
    /// none without it
    #[arg(long, value_name = "CERTIFICATE")]
    client_cert: Option<String>,
    /// When it comes, as 2027-02-20T10:00:00Z; now without it
    #[arg(long, value_name = "TIME")]
    at: Option<When>,
    /// Its body, where that decides
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// The body's Content-Type
    #[arg(long, value_name = "TYPE", requires = "body", default_value = "application/json")]
    content_type: HeaderValue,
    /// A past request instead, out of the access log: its id, as its answer had it in X-Request-Id
    #[arg(long, value_name = "ID", conflicts_with_all = ["method", "path", "key", "from", "client_cert", "body", "content_type"])]
    request_id: Option<String>,
    /// Another log than the configured one, with its rotated files; - for stdin
    #[arg(long, value_name = "FILE", requires = "request_id")]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let now = Clock::system().wall();
    let at = opts.at.and_then(|at| at.from(now)).unwrap_or(now);
    match (&opts.request_id, &opts.method, &opts.path) {
        (Some(id), _, _) => past::run(path, id, opts.file.as_deref(), at, opts.json),
        (None, Some(method), Some(target)) => asked(path, (method, target), at, opts),
        (None, _, _) => Err(Failure::Failed("name a method and a path".to_owned())),
    }
}

fn asked(path: &Path, (method, target): (&Method, &str), at: WallTime, opts: &Opts) -> Result<(), Failure> {
    let loading = load(path, &Environment::Unread);
    let Some(loaded) = &loading.loaded else {
        show(&loading);
        return Err(Failure::Mistakes(tally(&loading)));
    };
    let keys = &loaded.keys.keys;
    let court = court(&loaded.config, keys)?;
    let key = opts.key.as_deref().map(|named| find_key(keys, named)).transpose()?;
    // Nothing is hidden in the body of a request that has none.
    let has_none = matches!(*method, Method::GET | Method::HEAD).then(Vec::new);
    let body = opts.body.as_deref().map(read_body).transpose()?.or(has_none);
    let shown = opts.client_cert.as_deref().map(client_cert).transpose()?.map(|(_, facts)| Arc::new(facts));
    let question = Question {
        method,
        target,
        asker: key.map_or(Asker::Stranger, |(_, key)| Asker::Key(&key.id)),
        from: opts.from,
        shown: shown.as_ref().map_or(Shown::Nothing, Shown::This),
        at,
        body: body.as_deref().map(|bytes| Body { bytes, content_type: &opts.content_type }),
    };
    let explanation = Explanation::of(&court, &question);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if opts.json {
        writeln!(out, "{}", json_plain(&explanation.json().to_string()))?;
    } else {
        explanation.text(&mut out)?;
    }
    Ok(out.flush()?)
}

fn court(config: &Config, keys: &[Key]) -> Result<Court, Failure> {
    Court::new(config, keys).map_err(|error| Failure::Failed(error.to_string()))
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
    judgement: Judgement,
    steps: Vec<Step>,
    advice: Vec<String>,
}

impl<'a> Explanation<'a> {
    fn of(court: &'a Court, question: &'a Question<'a>) -> Self {
        let judgement = court.judge(question);
        let steps = walk(court, question, &judgement);
        let advice = advice(court, question, &judgement);
        Self { question, judgement, steps, advice }
    }

    fn text(&self, out: &mut impl Write) -> std::io::Result<()> {
        let Question { method, target, asker, from, at, .. } = self.question;
        let who = match asker {
            Asker::Stranger => "without a key".to_owned(),
            Asker::Unknown => "with a key that nobody knows".to_owned(),
            Asker::Key(id) => format!("with key {}", id.as_str()),
        };
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
        writeln!(out, "\n{}", plain(&self.outcome()))?;
        self.advice.iter().try_for_each(|sentence| writeln!(out, "  - {}", plain(sentence)))
    }

    /// The verdict in a line.
    fn outcome(&self) -> String {
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
        let Question { method, target, asker, from, at, .. } = self.question;
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
            "key": if let Asker::Key(id) = asker { Some(id.as_str()) } else { None },
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
