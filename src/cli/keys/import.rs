//! `sidelock keys import`: keys that clients already hold. All of them or none; only digests are stored, and no message
//! holds a key.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::{Failure, say};
use super::arguments::{self, Expires, Network};
use super::{Bench, Format};
use crate::credential::api_key::{self, KeyDigest, PlainKey};
use crate::editing::NewKey;
use crate::editing::desk::{Purpose, Work};
use crate::limits::rate::Rate;

/// What was typed.
#[derive(Debug, clap::Args)]
pub(super) struct Opts {
    /// The file with the keys; stdin without it
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// What a line is
    #[arg(long, value_enum, default_value = "key")]
    lines: Lines,
    /// A name for people; with several keys, each gets its line's number too
    #[arg(long, default_value = "Imported")]
    title: String,
    /// What they may do; several with commas, or repeat
    #[arg(long = "scope", alias = "scopes", value_name = "SCOPE", required = true, value_delimiter = ',')]
    scopes: Vec<String>,
    #[command(flatten)]
    expires: Expires,
    /// From where they may be used; several with commas, or repeat
    #[arg(long = "allow-from", value_name = "CIDR", value_delimiter = ',')]
    allow_from: Vec<Network>,
    /// The rate of each, as '100/min burst 20'
    #[arg(long)]
    rate: Option<Rate>,
    /// Who answers for them
    #[arg(long, value_name = "TEXT")]
    owner: Option<String>,
    /// Print ids and titles as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Lines {
    /// A key and nothing else
    Key,
    /// title,key; a title with a comma stands in double quotes
    TitleKey,
}

/// Shortest key that is not of Sidelock's own form, in bytes: what is shorter can be guessed.
const FEWEST_FOREIGN_BYTES: usize = 20;
/// Largest input, in bytes.
const MOST_BYTES: u64 = 16 * 1024 * 1024;

/// A key to import.
struct Given<'t> {
    line: usize,
    title: Option<String>,
    key: &'t str,
}

/// Why a line cannot be imported; nothing of the line is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("this key is mistyped: its check sum does not fit; copy it again")]
    Mistyped,
    #[error("a key of another form needs at least {FEWEST_FOREIGN_BYTES} characters")]
    Short,
    #[error(
        "a key has at most {} characters, all of them visible ASCII; a space or line break is none",
        api_key::MOST_BYTES
    )]
    Form,
    #[error("the same key as in line {0}")]
    Repeated(usize),
    #[error("the key file has this key already, as {0}")]
    Known(String),
    #[error("this line has a comma: say '--lines title-key' if a title stands before it")]
    Comma,
    #[error("expected 'title,key'")]
    NoTitle,
    #[error("a title has 1 to 200 characters, none of them a control character")]
    Title,
}

pub(super) fn run(path: &Path, opts: &Opts) -> Result<(), Failure> {
    let text = read(opts.file.as_deref())?;
    let bench = Bench::open(path, Purpose::Beginning)?;
    let (given, mut refused) = split(&text, opts.lines);
    refused.extend(bench.refuse(&given));
    if !refused.is_empty() {
        refused.sort_by_key(|(line, _)| *line);
        refused.iter().for_each(|(line, why)| say(&format!("line {line}: {why}")));
        return Err(Failure::Failed(format!("nothing was imported: {} bad lines", refused.len())));
    }
    if given.is_empty() {
        return Err(Failure::Failed("there is no key in the input".to_owned()));
    }
    let several = given.len() > 1;
    let new: Vec<NewKey> =
        given.iter().map(|given| opts.new_key(given, several, &bench)).collect::<Result<_, _>>()?;
    let told: Vec<_> =
        new.iter().map(|key| serde_json::json!({ "id": key.id, "title": key.title })).collect();
    let done = match new.as_slice() {
        [one] => format!("Imported as {}.", one.id),
        several => format!("Imported {} keys.", several.len()),
    };
    let work = new.into_iter().fold(Work::default(), Work::with_new);
    let value = serde_json::json!({ "imported": told });
    bench.change("import", &work, Format::of(opts.json), (&done, value))
}

fn read(file: Option<&Path>) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let failed = |what: String| move |error: std::io::Error| Failure::Failed(format!("{what}: {error}"));
    match file {
        Some(path) => {
            let what = path.display().to_string();
            let file = std::fs::File::open(path).map_err(failed(what.clone()))?;
            file.take(MOST_BYTES).read_to_string(&mut text).map_err(failed(what))?;
        }
        None => {
            if std::io::stdin().is_terminal() {
                say("Paste the keys, one a line, and end with Ctrl-D:");
            }
            let stdin = std::io::stdin().lock();
            stdin.take(MOST_BYTES).read_to_string(&mut text).map_err(failed("stdin".to_owned()))?;
        }
    }
    if u64::try_from(text.len()).is_ok_and(|length| length >= MOST_BYTES) {
        return Err(Failure::Failed(format!("the input is over {MOST_BYTES} bytes")));
    }
    Ok(text)
}

/// The lines with something on them; spaces around a key are a pasting slip, and told.
fn split(text: &str, lines: Lines) -> (Vec<Given<'_>>, Vec<(usize, Refusal)>) {
    let (mut given, mut refused) = (Vec::new(), Vec::new());
    for (at, whole) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = at + 1;
        let parts = match lines {
            Lines::Key if whole.contains(',') => Err(Refusal::Comma),
            Lines::Key => Ok((None, whole)),
            Lines::TitleKey => with_title(whole),
        };
        match parts {
            Ok((title, key)) => {
                if key.trim() != key {
                    say(&format!("line {line}: spaces around the key are left out"));
                }
                given.push(Given { line, title, key: key.trim() });
            }
            Err(why) => refused.push((line, why)),
        }
    }
    (given, refused)
}

/// `title,key`, or `"title, with ""quotes""",key`.
fn with_title(line: &str) -> Result<(Option<String>, &str), Refusal> {
    let (title, key) = match line.trim_start().strip_prefix('"') {
        None => {
            let (title, key) = line.split_once(',').ok_or(Refusal::NoTitle)?;
            (title.to_owned(), key)
        }
        Some(rest) => {
            let mut end = None;
            let mut quotes = rest.match_indices('"').map(|(at, _)| at).peekable();
            while let Some(at) = quotes.next() {
                if quotes.next_if_eq(&(at + 1)).is_none() {
                    end = Some(at);
                    break;
                }
            }
            let (title, rest) = end.and_then(|end| rest.split_at_checked(end)).ok_or(Refusal::NoTitle)?;
            let key = rest.get(1..).and_then(|rest| rest.trim_start().strip_prefix(','));
            (title.replace("\"\"", "\""), key.ok_or(Refusal::NoTitle)?)
        }
    };
    arguments::title(title.trim()).map(|title| (Some(title), key)).map_err(|_| Refusal::Title)
}

/// Whether a key has a form that is worth importing.
fn judge(key: &str) -> Result<(), Refusal> {
    let bytes = key.as_bytes();
    if api_key::is_mistyped(bytes) {
        return Err(Refusal::Mistyped);
    }
    if bytes.len() < FEWEST_FOREIGN_BYTES {
        return Err(Refusal::Short);
    }
    if api_key::is_plausible(bytes) { Ok(()) } else { Err(Refusal::Form) }
}

impl Bench {
    fn refuse(&self, given: &[Given<'_>]) -> Vec<(usize, Refusal)> {
        let mut known: HashMap<KeyDigest, Refusal> = HashMap::new();
        for key in self.desk.keys() {
            let digests = [Some(key.digest), key.previous.map(|previous| previous.digest)];
            let refusal = Refusal::Known(key.id.as_str().to_owned());
            known.extend(digests.into_iter().flatten().map(|digest| (digest, refusal.clone())));
        }
        let mut refused = Vec::new();
        for Given { line, key, .. } in given {
            match judge(key) {
                Err(why) => refused.push((*line, why)),
                Ok(()) => match known.entry(KeyDigest::of(key.as_bytes())) {
                    Entry::Occupied(it) => refused.push((*line, it.get().clone())),
                    Entry::Vacant(it) => {
                        it.insert(Refusal::Repeated(*line));
                    }
                },
            }
        }
        refused
    }
}

impl Opts {
    fn new_key(&self, given: &Given<'_>, several: bool, bench: &Bench) -> Result<NewKey, Failure> {
        let random = || PlainKey::generate().map_err(|error| Failure::Failed(error.to_string()));
        let id = match api_key::own_id(given.key) {
            Some(id) => id.to_owned(),
            None => random()?.id().to_owned(),
        };
        let title = match &given.title {
            Some(title) => title.clone(),
            None if several => arguments::title(&format!("{} {}", self.title, given.line))?,
            None => arguments::title(&self.title)?,
        };
        Ok(NewKey {
            id,
            title,
            digest: KeyDigest::of(given.key.as_bytes()),
            scopes: arguments::scopes(&self.scopes, &bench.desk.loaded.config.scopes)?,
            created: bench.now,
            lifetime: self.expires.lifetime(bench.now)?,
            allow_from: self.allow_from.iter().map(|Network(text)| text.clone()).collect(),
            client_cert: None,
            rate: self.rate,
            credential: None,
            owner: self.owner.as_deref().map(|owner| arguments::line("owner", owner)).transpose()?,
            note: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_keys() {
        let key = PlainKey::generate().unwrap();
        assert_eq!(judge(key.expose()), Ok(()));
        assert_eq!(judge(&key.expose()[..key.expose().len() - 1]), Err(Refusal::Mistyped));
        assert_eq!(judge("0123456789abcdefghi"), Err(Refusal::Short));
        assert_eq!(judge("0123456789abcdefghij"), Ok(()));
        assert_eq!(judge("0123456789 abcdefghij"), Err(Refusal::Form));
    }

    #[test]
    fn lines_with_titles() {
        let parts = |line| with_title(line).map(|(title, key)| (title.unwrap(), key.to_owned()));
        let fine = |title: &str, key: &str| Ok((title.to_owned(), key.to_owned()));
        assert_eq!(parts("Shop,a,b"), fine("Shop", "a,b"));
        assert_eq!(parts("\"Shop, \"\"north\"\"\" , k"), fine("Shop, \"north\"", " k"));
        for bad in ["no comma", "\"open,k", "\"x\" y,k"] {
            assert_eq!(parts(bad), Err(Refusal::NoTitle), "{bad}");
        }
        assert_eq!(parts(",k"), Err(Refusal::Title));
        assert_eq!(parts("a\u{7}b,k"), Err(Refusal::Title));
    }
}
