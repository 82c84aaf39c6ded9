//! Taking fields out of a JSON text (RFC 8259): a string becomes `""`, anything else `null`, and no other byte changes.
//!
//! The text is first read as strictly as a signed body: what two readers could understand differently, such as a name twice
//! in one object, could show one of them what was hidden from the other. What passes is cut, not written anew, because a
//! writer of JSON changes numbers, escapes and order.

use std::borrow::Cow;
use std::ops::Range;

use super::blank::{Field, Hidden};
use crate::credential::webhook::json::{self, JsonError};

/// The text without its hidden fields, at most 7/4 as long.
///
/// # Errors
/// [`JsonError`]; nothing of the text can be shown then.
pub fn without(hidden: &Hidden, text: Vec<u8>) -> Result<Vec<u8>, JsonError> {
    json::find(&text, &[])?;
    let places: Vec<Steps<'_>> = hidden.fields().filter_map(place).collect();
    let mut cutter = Cutter { text: &text, at: 0, hidden, cuts: Vec::new() };
    cutter.value(&places).ok_or(JsonError::NotJson)?;
    let cuts = cutter.cuts;
    if cuts.is_empty() {
        return Ok(text);
    }
    let mut out = Vec::with_capacity(text.len() + cuts.len() * NULL.len());
    let mut copied = 0;
    for Cut { place, by } in cuts {
        out.extend_from_slice(text.get(copied..place.start).ok_or(JsonError::NotJson)?);
        out.extend_from_slice(by);
        copied = place.end;
    }
    out.extend_from_slice(text.get(copied..).ok_or(JsonError::NotJson)?);
    Ok(out)
}

const NULL: &[u8] = b"null";
const EMPTY: &[u8] = b"\"\"";

/// The steps that are left of a place.
type Steps<'h> = &'h [Box<str>];

fn place(field: &Field) -> Option<Steps<'_>> {
    match field {
        Field::At(steps) => Some(steps),
        Field::Named(_) => None,
    }
}

/// A value that something else takes the place of.
struct Cut {
    place: Range<usize>,
    by: &'static [u8],
}

/// Walks through a text that is known to be JSON of bounded depth. `None` means that it is not, after all.
struct Cutter<'t, 'h> {
    text: &'t [u8],
    at: usize,
    hidden: &'h Hidden,
    cuts: Vec<Cut>,
}

impl<'t> Cutter<'t, '_> {
    fn value(&mut self, places: &[Steps<'_>]) -> Option<()> {
        match self.next()? {
            b'{' => self.object(places),
            b'[' => self.array(places),
            _ => self.pass(),
        }
    }

    fn object(&mut self, places: &[Steps<'_>]) -> Option<()> {
        self.at += 1;
        loop {
            match self.next()? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let name = self.name()?;
                    (self.next()? == b':').then(|| self.at += 1)?;
                    let is_hidden = self.hidden.fields().any(|field| is_named(field, &name));
                    self.child(is_hidden, &below(places, |step| *step == *name))?;
                }
            }
        }
        self.at += 1;
        Some(())
    }

    fn array(&mut self, places: &[Steps<'_>]) -> Option<()> {
        self.at += 1;
        let below = below(places, |_| false);
        loop {
            match self.next()? {
                b']' => break,
                b',' => self.at += 1,
                _ => self.child(false, &below)?,
            }
        }
        self.at += 1;
        Some(())
    }

    fn child(&mut self, is_hidden: bool, places: &[Steps<'_>]) -> Option<()> {
        if !is_hidden && !places.iter().any(|steps| steps.is_empty()) {
            return self.value(places);
        }
        let by = if self.next()? == b'"' { EMPTY } else { NULL };
        let start = self.at;
        self.pass()?;
        self.cuts.push(Cut { place: start..self.at, by });
        Some(())
    }

    /// Passes over a value, whatever is in it.
    fn pass(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => self.at += self.rest()?.iter().take_while(|byte| !ends_scalar(**byte)).count(),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// The next byte that is no white space; it stays the next one.
    fn next(&mut self) -> Option<u8> {
        let blanks = self.rest()?.iter().take_while(|byte| is_white(**byte)).count();
        self.at += blanks;
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> Option<&'t [u8]> {
        self.text.get(self.at..)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'t [u8]> {
        let rest = self.rest()?;
        let mut end = 1;
        loop {
            match rest.get(end)? {
                b'"' => break,
                b'\\' => end += 2,
                _ => end += 1,
            }
        }
        self.at += end + 1;
        rest.get(..=end)
    }

    /// A member's name as it is meant.
    fn name(&mut self) -> Option<Cow<'t, str>> {
        let quoted = self.string()?;
        if quoted.contains(&b'\\') {
            return serde_json::from_slice(quoted).ok().map(Cow::Owned);
        }
        let plain = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        std::str::from_utf8(plain).ok().map(Cow::Borrowed)
    }
}

fn is_named(field: &Field, name: &str) -> bool {
    match field {
        Field::Named(hidden) => **hidden == *name,
        Field::At(_) => false,
    }
}

/// What is left of the places below a child that `*` or a step which `is_it` leads to.
fn below<'h>(places: &[Steps<'h>], is_it: impl Fn(&str) -> bool) -> Vec<Steps<'h>> {
    let step = |place: &Steps<'h>| {
        let (first, rest) = place.split_first()?;
        (&**first == "*" || is_it(first)).then_some(rest)
    };
    places.iter().filter_map(step).collect()
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

const fn ends_scalar(byte: u8) -> bool {
    is_white(byte) || matches!(byte, b',' | b'}' | b']')
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;

    use super::super::blank::{Blank, Blanks};
    use super::*;

    fn hidden(fields: &[&str]) -> Hidden {
        let replies_to = vec!["ANY /x".parse().unwrap()];
        let fields = fields.iter().map(|field| field.parse().unwrap()).collect();
        Blanks::new(&[Blank { replies_to, fields }]).hidden_from(&Method::GET, "/x").unwrap()
    }

    fn shown(fields: &[&str], text: &str) -> Result<String, JsonError> {
        without(&hidden(fields), text.as_bytes().to_vec()).map(|out| String::from_utf8(out).unwrap())
    }

    #[test]
    fn names_at_any_depth_and_nothing_else() {
        for (text, expect) in [
            (r#"{"t":"x"}"#, r#"{"t":""}"#),
            (r#" { "a" : 1.50e+1 , "t" : "x\"}" } "#, r#" { "a" : 1.50e+1 , "t" : "" } "#),
            (r#"{"\u0074":"x"}"#, r#"{"\u0074":""}"#),
            (
                r#"[[{"b":{"t":["t",{"t":1}]}}],"t",{"t":7,"u":"t"}]"#,
                r#"[[{"b":{"t":null}}],"t",{"t":null,"u":"t"}]"#,
            ),
            (
                "{\"t\":true\n,\"a\":\"\\u00e9\",\"t\\u0000\":1}",
                "{\"t\":null\n,\"a\":\"\\u00e9\",\"t\\u0000\":1}",
            ),
            (r#"{"T":"x","tt":"x","":{"t":{}}}"#, r#"{"T":"x","tt":"x","":{"t":null}}"#),
            ("\"t\"", "\"t\""),
            (" 7 ", " 7 "),
            ("[]", "[]"),
            (r#"{"a":"\\","t":"\\\"","b":"\\\\"}"#, r#"{"a":"\\","t":"","b":"\\\\"}"#),
        ] {
            assert_eq!(shown(&["t"], text).as_deref(), Ok(expect), "{text}");
        }
    }

    #[test]
    fn places_from_the_outermost() {
        let text = r#"{"p":[{"h":1},{"h":[2]}],"q":{"a":{"h":3},"h":4},"h":5}"#;
        for (field, expect) in [
            ("/p/*/h", r#"{"p":[{"h":null},{"h":null}],"q":{"a":{"h":3},"h":4},"h":5}"#),
            ("/*/h", r#"{"p":[{"h":1},{"h":[2]}],"q":{"a":{"h":3},"h":null},"h":5}"#),
            ("/q/*", r#"{"p":[{"h":1},{"h":[2]}],"q":{"a":null,"h":null},"h":5}"#),
            ("/p/1", text),
            ("/p", r#"{"p":null,"q":{"a":{"h":3},"h":4},"h":5}"#),
            ("/x/h", text),
        ] {
            assert_eq!(shown(&[field], text).as_deref(), Ok(expect), "{field}");
        }
        assert_eq!(shown(&["/*/h"], r#"[{"h":"x"},[{"h":1}]]"#).unwrap(), r#"[{"h":""},[{"h":1}]]"#);
    }

    #[test]
    fn what_reads_two_ways_is_not_shown() {
        let deep = "[".repeat(101) + &"]".repeat(101);
        for (bad, why) in [
            (r#"{"t":1,"\u0074":2}"#, JsonError::Repeated),
            (r#"{"a":{"b":1,"b":2}}"#, JsonError::Repeated),
            (&deep, JsonError::TooDeep),
            ("", JsonError::NotJson),
            (r#"{"t":"x""#, JsonError::NotJson),
            (r#"{"a":1}{"t":"x"}"#, JsonError::NotJson),
            ("\u{feff}{\"t\":1}", JsonError::NotJson),
            (")]}',\n{\"t\":1}", JsonError::NotJson),
            ("{\"t\":1}//", JsonError::NotJson),
        ] {
            assert_eq!(shown(&["t"], bad), Err(why), "{bad}");
        }
    }

    /// A text, and what it is to become.
    type Pair = (String, String);

    fn either(text: &str) -> Pair {
        (text.to_owned(), text.to_owned())
    }

    fn joined(open: &str, items: Vec<(&str, Pair)>, close: &str) -> Pair {
        let between = |at: usize| if at == 0 { "" } else { " ,\n" };
        let mut out = either(open);
        for (at, (before, (text, expect))) in items.into_iter().enumerate() {
            out.0 += &format!("{}{before}{text}", between(at));
            out.1 += &format!("{}{before}{expect}", between(at));
        }
        (out.0 + close, out.1 + close)
    }

    /// JSON in odd spellings, built together with what must become of it when `t` is hidden.
    fn json() -> impl Strategy<Value = Pair> {
        let scalar = prop::sample::select(vec![
            "null",
            "true",
            "-0.0",
            "1E+2",
            "12345678901234567890123",
            "\"\"",
            "\"t\"",
            "\"\\\"t\\\":1\"",
            "\"\\\\\"",
            "\"{[é\\u0074\"",
        ]);
        let leaf = scalar.prop_map(either);
        leaf.prop_recursive(5, 40, 5, |inner| {
            let array = prop::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| joined("[ ", items.into_iter().map(|item| ("\t", item)).collect(), "]"));
            // One of each name at most: a name twice is refused.
            let names = prop::sample::subsequence(
                vec!["\"t\":", "\"a\" : ", "\"T\":", "\"\\u0062\":", "\"tt\":"],
                0..=5,
            );
            let object =
                (names, prop::collection::vec(inner, 5), any::<bool>()).prop_map(|(names, values, odd)| {
                    let member = |(name, value): (&'static str, Pair)| {
                        if name != "\"t\":" {
                            return (name, value);
                        }
                        let blank = if value.0.starts_with('"') { "\"\"" } else { "null" };
                        (if odd { "\"\\u0074\"\r\n:" } else { name }, (value.0, blank.to_owned()))
                    };
                    joined("{", names.into_iter().zip(values).map(member).collect(), "\n}")
                });
            prop_oneof![array, object]
        })
    }

    proptest! {
            #[test]
            fn all_other_bytes_are_the_same((text, expect) in json()) {
                let out = shown(&["t"], &text);
                prop_assert_eq!(out.as_deref(), Ok(&*expect));
    let again = shown(&["t"], &expect);
                prop_assert_eq!(again.as_deref(), Ok(&*expect), "and nothing more is to be done");
            }

            #[test]
            fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
                drop(without(&hidden(&["t", "/*/a"]), bytes));
            }
        }
}
