//! A file's text, and the mistakes found in it: all of them at once, each with line, caret and what was probably meant.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Renderer, Snippet};

/// One file as read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The path as given.
    pub path: PathBuf,
    /// The whole text.
    pub text: String,
}

/// One mistake, or one thing worth a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the text; `None` for the file as a whole.
    pub span: Option<Range<usize>>,
    /// What is wrong, in a sentence that starts small.
    pub message: String,
    /// What to do, if that is not obvious.
    pub help: Option<String>,
    /// How bad it is.
    pub severity: Severity,
}

/// Where the lines of a text begin: found once, because a key file can have as many mistakes as lines.
#[derive(Clone, Debug)]
pub struct Lines(Vec<usize>);

/// How bad a [`Mistake`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The content is taken, but is probably not what was meant.
    Warning,
    /// The content is refused.
    Error,
}

/// Mistakes of one or more files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    mistakes: Vec<Mistake>,
}

impl Source {
    fn is(&self, path: &Path) -> bool {
        self.path == path
    }
}

impl Lines {
    /// Those of `text`.
    pub fn of(text: &str) -> Self {
        Self(std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect())
    }

    /// Line (from 1) of a byte offset.
    pub fn number(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    /// Where the line of a byte offset begins.
    fn start(&self, offset: usize) -> usize {
        self.0.get(self.number(offset).saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Where the line after it begins, if there is one.
    fn next(&self, offset: usize) -> Option<usize> {
        self.0.get(self.number(offset)).copied()
    }
}

/// A text as it is shown: secrets starred, and cut to the lines that a mistake is about.
struct Shown {
    text: String,
    lines: Lines,
}

impl Shown {
    fn of(text: &str) -> Self {
        Self { text: super::mask::masked(text), lines: Lines::of(text) }
    }

    /// The lines that `span` touches.
    fn snippet<'t>(&'t self, path: &str, span: &Range<usize>) -> Snippet<'t, Annotation<'t>> {
        let end = span.end.max(span.start).min(self.text.len());
        let start = span.start.min(end);
        let first = self.lines.start(start);
        let last = self.lines.next(end).unwrap_or(self.text.len());
        let lines = self.text.get(first..last).unwrap_or_default();
        Snippet::source(lines)
            .line_start(self.lines.number(start))
            .path(path.to_owned())
            .annotation(AnnotationKind::Primary.span(start - first..end - first))
    }
}

impl Report {
    /// Adds a mistake.
    pub fn push(&mut self, mistake: Mistake) {
        self.mistakes.push(mistake);
    }

    /// Adds an error about a file as a whole.
    pub fn file_error(&mut self, path: &Path, message: impl Into<String>, help: Option<&str>) {
        self.file(path, message.into(), help, Severity::Error);
    }

    /// Adds something worth a look that concerns a whole file.
    pub fn file_warning(&mut self, path: &Path, message: impl Into<String>, help: Option<&str>) {
        self.file(path, message.into(), help, Severity::Warning);
    }

    fn file(&mut self, path: &Path, message: String, help: Option<&str>, severity: Severity) {
        let help = help.map(str::to_owned);
        self.push(Mistake { path: path.to_owned(), span: None, message, help, severity });
    }

    /// Adds what another report holds.
    pub fn absorb(&mut self, other: Self) {
        self.mistakes.extend(other.mistakes);
    }

    /// All of them, in the order found.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }

    /// Number of mistakes of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.mistakes.iter().filter(|mistake| mistake.severity == severity).count()
    }

    /// True if content must be refused.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// The first error in one line, for the log.
    pub fn summary(&self, sources: &[Source]) -> String {
        let first = self.mistakes.iter().find(|mistake| mistake.severity == Severity::Error);
        let Some(first) = first else {
            return "no errors".to_owned();
        };
        let line = first.span.as_ref().and_then(|span| {
            sources
                .iter()
                .find(|source| source.is(&first.path))
                .map(|source| format!(":{}", Lines::of(&source.text).number(span.start)))
        });
        let more = match self.count(Severity::Error) {
            0 | 1 => String::new(),
            count => format!(" (and {} more; 'sidelock check' shows all)", count - 1),
        };
        format!("{}{}: {}{more}", first.path.display(), line.unwrap_or_default(), first.message)
    }

    /// All mistakes for people, with snippets; `colour` for a terminal.
    pub fn render(&self, sources: &[Source], colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let shown: Vec<Shown> = sources.iter().map(|source| Shown::of(&source.text)).collect();
        let mut out = String::new();
        for mistake in &self.mistakes {
            let source = sources.iter().zip(&shown).find(|(source, _)| source.is(&mistake.path));
            out.push_str(&renderer.render(&[mistake.group(source.map(|(_, shown)| shown))]));
            out.push_str("\n\n");
        }
        out
    }
}

impl Mistake {
    fn group<'t>(&'t self, text: Option<&'t Shown>) -> Group<'t> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let path = self.path.display().to_string();
        let group = match (&self.span, text) {
            (Some(span), Some(text)) => {
                level.primary_title(self.message.as_str()).element(text.snippet(&path, span))
            }
            (Some(_) | None, _) => level
                .primary_title(format!("{path}: {}", self.message))
                .element(Level::NOTE.message("this is about the file as a whole")),
        };
        match &self.help {
            Some(help) => group.element(Level::HELP.message(help.as_str())),
            None => group,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_in_its_line() {
        let text = "a = 1\nb = 2\n\nc = 3";
        let lines = Lines::of(text);
        let numbers: Vec<usize> = [0, 5, 6, 12, 13, text.len(), 1000].map(|at| lines.number(at)).into();
        assert_eq!(numbers, [1, 1, 2, 3, 4, 4, 4]);
        let source = Source { path: "x.toml".into(), text: text.to_owned() };
        let shown = |span: Range<usize>| {
            let mut report = Report::default();
            let mistake = Mistake {
                path: source.path.clone(),
                span: Some(span),
                message: "no".to_owned(),
                help: None,
                severity: Severity::Error,
            };
            report.push(mistake);
            report.render(std::slice::from_ref(&source), false)
        };
        let second = shown(10..11);
        assert!(second.contains("x.toml:2:5") && second.contains("2 | b = 2") && !second.contains("c = 3"));
        for (span, place) in
            [(0..0, "x.toml:1:1"), (13..18, "x.toml:4:1"), (18..18, "x.toml:4:6"), (500..900, "x.toml:4:6")]
        {
            let shown = shown(span);
            assert!(shown.contains(place), "{shown}");
        }
    }

    #[test]
    fn as_many_mistakes_as_lines_are_shown_in_linear_time() {
        let text = "[[key]]\n".repeat(20_000);
        let mut report = Report::default();
        for at in 0..20_000 {
            report.push(Mistake {
                path: "x.toml".into(),
                span: Some(at * 8..at * 8 + 7),
                message: "no".to_owned(),
                help: None,
                severity: Severity::Error,
            });
        }
        let shown = report.render(&[Source { path: "x.toml".into(), text }], false);
        assert_eq!(shown.matches("[[key]]").count(), 20_000);
    }
}
