//! Reads one TOML table key by key, gathers every mistake, and knows which keys nobody asked for.

use std::cell::{OnceCell, RefCell};
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Lines, Mistake, Report, Severity, Source};

/// A file being read: its text and the mistakes so far.
#[derive(Debug)]
pub struct Reading<'s> {
    source: &'s Source,
    report: RefCell<Report>,
    lines: OnceCell<Lines>,
}

/// A table being read.
#[derive(Debug)]
pub struct Section<'r, 's> {
    reading: &'r Reading<'s>,
    table: Option<&'r DeTable<'s>>,
    span: Range<usize>,
    /// As in `webhook.path`, for messages.
    path: String,
    asked: RefCell<Vec<&'static str>>,
}

/// A value and where it stands.
#[derive(Clone, Copy, Debug)]
pub struct Value<'r, 's> {
    reading: &'r Reading<'s>,
    value: &'r Spanned<DeValue<'s>>,
}

impl<'s> Reading<'s> {
    /// Starts reading.
    pub fn new(source: &'s Source) -> Self {
        Self { source, report: RefCell::default(), lines: OnceCell::new() }
    }

    /// Parses the text; syntax errors become mistakes, all of them at once.
    pub fn parse(&self) -> Spanned<DeTable<'s>> {
        let (table, errors) = DeTable::parse_recoverable(&self.source.text);
        for error in errors {
            let message = format!("not valid TOML: {}", error.message().trim());
            self.add(error.span().unwrap_or(0..0), message, None, Severity::Error);
        }
        table
    }

    /// The outermost table.
    pub fn root<'r>(&'r self, table: &'r Spanned<DeTable<'s>>) -> Section<'r, 's> {
        Section {
            reading: self,
            table: Some(table.get_ref()),
            span: 0..0,
            path: String::new(),
            asked: RefCell::default(),
        }
    }

    /// Notes an error.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.add(span, message.into(), help, Severity::Error);
    }

    /// Notes something worth a look.
    pub fn warning(&self, span: Range<usize>, message: impl Into<String>, help: Option<String>) {
        self.add(span, message.into(), help, Severity::Warning);
    }

    /// Line (from 1) of a byte offset.
    pub fn line_of(&self, offset: usize) -> usize {
        self.lines.get_or_init(|| Lines::of(&self.source.text)).number(offset)
    }

    /// Adds mistakes of another file.
    pub fn absorb(&self, report: Report) {
        self.report.borrow_mut().absorb(report);
    }

    /// The mistakes found.
    pub fn into_report(self) -> Report {
        self.report.into_inner()
    }

    fn add(&self, span: Range<usize>, message: String, help: Option<String>, severity: Severity) {
        self.report.borrow_mut().push(Mistake {
            path: self.source.path.clone(),
            span: Some(span),
            message,
            help,
            severity,
        });
    }
}

impl<'r, 's> Section<'r, 's> {
    /// The file that this is part of.
    pub const fn reading(&self) -> &'r Reading<'s> {
        self.reading
    }

    /// Where the table stands.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// True if the table is written at all.
    pub const fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// The value of `key`, if there is one.
    pub fn get(&self, key: &'static str) -> Option<Value<'r, 's>> {
        let mut asked = self.asked.borrow_mut();
        if !asked.contains(&key) {
            asked.push(key);
        }
        drop(asked);
        let value = self.table?.get(key)?;
        Some(Value { reading: self.reading, value })
    }

    /// A key that must be there.
    pub fn required(&self, key: &'static str) -> Option<Value<'r, 's>> {
        let value = self.get(key);
        if value.is_none() {
            let message = if self.path.is_empty() {
                format!("'{key}' is missing")
            } else {
                format!("'{key}' is missing from [{}]", self.path)
            };
            self.reading.error(self.span(), message, None);
        }
        value
    }

    /// The table under `key`; an empty one if it is not written.
    pub fn section(&self, key: &'static str) -> Self {
        let value = self.get(key);
        let table = value.and_then(|value| value.table());
        Section {
            reading: self.reading,
            table,
            span: value.map_or(0..0, |value| value.span()),
            path: self.path_of(key),
            asked: RefCell::default(),
        }
    }

    /// The tables of `[[key]]`.
    pub fn sections(&self, key: &'static str) -> Vec<Self> {
        let items = self.get(key).map(|value| value.items()).unwrap_or_default();
        let path = self.path_of(key);
        let section = |value: Value<'r, 's>| Section {
            reading: self.reading,
            table: value.table(),
            span: value.span(),
            path: path.clone(),
            asked: RefCell::default(),
        };
        items.into_iter().map(section).collect()
    }

    /// Every key with its table, for tables whose keys are names.
    pub fn named_sections(&self) -> Vec<(String, Range<usize>, Self)> {
        let Some(table) = self.table else {
            return Vec::new();
        };
        table
            .iter()
            .map(|(name, value)| {
                let value = Value { reading: self.reading, value };
                let section = Section {
                    reading: self.reading,
                    table: value.table(),
                    span: name.span(),
                    path: format!("{}.{}", self.path, name.get_ref()),
                    asked: RefCell::default(),
                };
                (name.get_ref().to_string(), name.span(), section)
            })
            .collect()
    }

    /// Every key with its value, for tables whose keys are names.
    pub fn named_values(&self) -> Vec<(String, Value<'r, 's>)> {
        let values = self.table.into_iter().flat_map(|table| table.iter());
        values
            .map(|(name, value)| (name.get_ref().to_string(), Value { reading: self.reading, value }))
            .collect()
    }

    /// Notes every key that nobody asked for, with the name that was probably meant.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.into_inner();
        for (name, _) in table.iter().filter(|(name, _)| !asked.contains(&name.get_ref().as_ref())) {
            let place = if self.path.is_empty() { "here".to_owned() } else { format!("in [{}]", self.path) };
            let help = meant(name.get_ref(), asked.iter().copied())
                .map(|near| format!("did you mean '{near}'?"))
                .unwrap_or_else(|| format!("known {place}: {}", asked.join(", ")));
            self.reading.error(
                name.span(),
                format!("'{}' is not a key that is known {place}", name.get_ref()),
                Some(help),
            );
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

impl<'r, 's> Value<'r, 's> {
    /// Where it stands.
    pub fn span(&self) -> Range<usize> {
        self.value.span()
    }

    /// The file that this is part of.
    pub const fn reading(&self) -> &'r Reading<'s> {
        self.reading
    }

    /// The string, if it is one; nothing is noted if it is not.
    pub fn as_text(&self) -> Option<&'r str> {
        self.value.get_ref().as_str()
    }

    /// True for a table.
    pub fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// A string.
    pub fn text(&self) -> Option<&'r str> {
        match self.value.get_ref().as_str() {
            Some(text) => Some(text),
            None => self.wrong_type("a string"),
        }
    }

    /// `true` or `false`.
    pub fn truth(&self) -> Option<bool> {
        match self.value.get_ref().as_bool() {
            Some(truth) => Some(truth),
            None => self.wrong_type("true or false"),
        }
    }

    /// A whole number from `least` to `most`.
    pub fn number(&self, least: u64, most: u64) -> Option<u64> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            return self.wrong_type("a whole number");
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        let fits = parsed.filter(|parsed| (least..=most).contains(parsed));
        if fits.is_none() {
            self.reading.error(self.span(), format!("expected a whole number from {least} to {most}"), None);
        }
        fits
    }

    /// A whole number with or without a sign.
    pub fn integer(&self) -> Option<i64> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            return self.wrong_type("a whole number");
        };
        let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
        if parsed.is_none() {
            self.reading.error(self.span(), "this number is too large", None);
        }
        parsed
    }

    /// An offset date-time; anything else that is a date is refused, because it would mean another moment elsewhere.
    pub fn moment(&self) -> Option<crate::clock::WallTime> {
        let DeValue::Datetime(stamp) = self.value.get_ref() else {
            return self.wrong_type("a date and time such as 2026-11-22T10:00:00Z");
        };
        match stamp.to_string().parse::<jiff::Timestamp>() {
            Ok(stamp) => Some(crate::clock::WallTime::from_unix_secs(stamp.as_second())),
            Err(_) => {
                let help = "write the time zone too, as in 2026-11-22T10:00:00Z or 2026-11-22T11:00:00+01:00"
                    .to_owned();
                self.reading.error(
                    self.span(),
                    "a date and time with its time zone is needed here",
                    Some(help),
                );
                None
            }
        }
    }

    /// A string that `T` can be read from.
    pub fn parse<T>(&self) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        match self.text()?.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.reading.error(self.span(), error.to_string(), None);
                None
            }
        }
    }

    /// Whether it is an array.
    pub fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// The items of an array.
    pub fn items(&self) -> Vec<Self> {
        match self.value.get_ref().as_array() {
            Some(items) => items.iter().map(|value| Self { reading: self.reading, value }).collect(),
            None => {
                self.wrong_type::<()>("a list");
                Vec::new()
            }
        }
    }

    /// The items of an array, or the one item that is not in one.
    pub fn one_or_more(&self) -> Vec<Self> {
        if self.is_list() { self.items() } else { vec![*self] }
    }

    /// Every item parsed; mistakes in one do not hide those in another.
    pub fn parse_all<T>(&self) -> Vec<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        self.one_or_more().iter().filter_map(Self::parse).collect()
    }

    /// Notes that nothing of this kind is called `name`, with what was probably meant.
    pub fn unknown<'n>(&self, kind: &str, name: &str, known: impl Iterator<Item = &'n str> + Clone) {
        let help = match meant(name, known.clone()) {
            Some(near) => format!("did you mean '{near}'?"),
            None if known.clone().next().is_none() => format!("the configuration has no {kind}s"),
            None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
        };
        self.reading.error(self.span(), format!("no {kind} is called '{name}'"), Some(help));
    }

    /// A table that stands where a list's item or a plain value could.
    pub fn section(&self, path: &str) -> Section<'r, 's> {
        Section {
            reading: self.reading,
            table: self.table(),
            span: self.span(),
            path: path.to_owned(),
            asked: RefCell::default(),
        }
    }

    fn table(&self) -> Option<&'r DeTable<'s>> {
        match self.value.get_ref().as_table() {
            Some(table) => Some(table),
            None => self.wrong_type("a table"),
        }
    }

    fn wrong_type<T>(&self, expected: &str) -> Option<T> {
        let found = self.value.get_ref();
        self.reading.error(self.span(), format!("expected {expected}, found {}", found.type_str()), None);
        None
    }
}

/// The known name that `given` was probably meant to be.
pub fn meant<'n>(given: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    known
        .map(|name| (strsim::jaro_winkler(given, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
