//! Single values out of a JSON body (RFC 8259), strictly: what two parsers could read differently is refused.
//!
//! One pass without a tree, so that a body costs no multiple of its size. A name twice in one object, text after the value,
//! lone surrogates, a byte order mark and what is not UTF-8 are all refused.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;

/// Deepest nesting.
const DEEPEST: usize = 128;

/// Most members of the objects that are open at one time.
const MOST_OPEN_MEMBERS: usize = 65_536;

/// A JSON pointer (RFC 6901) to a value below the outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    steps: Box<[Box<str>]>,
}

/// Not a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a JSON pointer of 1 to 16 names, as in '/signature/token'")]
pub struct PointerError;

/// Not JSON, or not strictly so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct JsonError;

/// A value that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar<'b> {
    /// A string, decoded.
    Text(Cow<'b, str>),
    /// A number as it was written.
    Number(&'b str),
    /// Anything else.
    Other,
}

/// Values in the order of the pointers.
pub(super) type Found<'b> = Vec<Option<Scalar<'b>>>;

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        const MOST_STEPS: usize = 16;
        let rest = text.strip_prefix('/').ok_or(PointerError)?;
        let steps: Box<[Box<str>]> =
            rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~").into()).collect();
        if steps.len() > MOST_STEPS { Err(PointerError) } else { Ok(Self { steps }) }
    }
}

impl Scalar<'_> {
    /// The text of a string or a number.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(text) => Some(text),
            Self::Other => None,
        }
    }
}

/// Reads the whole body and keeps what `wanted` points to.
pub(super) fn find<'b>(body: &'b [u8], wanted: &[Pointer]) -> Result<Found<'b>, JsonError> {
    let text = std::str::from_utf8(body).map_err(|_| JsonError)?;
    let found = vec![None; wanted.len()];
    let mut scan = Scan { text, at: 0, path: Vec::new(), wanted, found, open_members: 0 };
    scan.space();
    scan.value()?;
    scan.space();
    if scan.at == text.len() { Ok(scan.found) } else { Err(JsonError) }
}

enum Step<'b> {
    Name(Cow<'b, str>),
    Index(usize),
}

struct Scan<'b, 'w> {
    text: &'b str,
    at: usize,
    path: Vec<Step<'b>>,
    wanted: &'w [Pointer],
    found: Found<'b>,
    open_members: usize,
}

impl<'b> Scan<'b, '_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(JsonError)
        }
    }

    /// The text since `start`.
    fn since(&self, start: usize) -> Result<&'b str, JsonError> {
        self.text.get(start..self.at).ok_or(JsonError)
    }

    fn value(&mut self) -> Result<(), JsonError> {
        let scalar = match self.peek() {
            Some(b'{') => {
                self.object()?;
                Scalar::Other
            }
            Some(b'[') => {
                self.array()?;
                Scalar::Other
            }
            Some(b'"') => Scalar::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => Scalar::Number(self.number()?),
            Some(_) => {
                self.word()?;
                Scalar::Other
            }
            None => return Err(JsonError),
        };
        for (pointer, found) in self.wanted.iter().zip(&mut self.found) {
            if is_at(pointer, &self.path) {
                *found = Some(scalar.clone());
            }
        }
        Ok(())
    }

    fn object(&mut self) -> Result<(), JsonError> {
        let mut names: HashSet<Cow<'b, str>> = HashSet::new();
        self.expect(b'{')?;
        self.space();
        if self.peek() == Some(b'}') {
            return self.expect(b'}');
        }
        loop {
            let name = self.string()?;
            self.open_members += 1;
            if self.open_members > MOST_OPEN_MEMBERS || !names.insert(name.clone()) {
                return Err(JsonError);
            }
            self.space();
            self.expect(b':')?;
            self.member(Step::Name(name))?;
            if self.peek() != Some(b',') {
                self.open_members -= names.len();
                return self.expect(b'}');
            }
            self.expect(b',')?;
            self.space();
        }
    }

    fn array(&mut self) -> Result<(), JsonError> {
        self.expect(b'[')?;
        self.space();
        if self.peek() == Some(b']') {
            return self.expect(b']');
        }
        for index in 0.. {
            self.member(Step::Index(index))?;
            if self.peek() != Some(b',') {
                break;
            }
            self.expect(b',')?;
        }
        self.expect(b']')
    }

    fn member(&mut self, step: Step<'b>) -> Result<(), JsonError> {
        if self.path.len() >= DEEPEST {
            return Err(JsonError);
        }
        self.path.push(step);
        self.space();
        self.value()?;
        self.space();
        self.path.pop();
        Ok(())
    }

    fn word(&mut self) -> Result<(), JsonError> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word));
        self.at += word.ok_or(JsonError)?.len();
        Ok(())
    }

    fn number(&mut self) -> Result<&'b str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        self.since(start)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(JsonError) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<Cow<'b, str>, JsonError> {
        self.expect(b'"')?;
        let mut start = self.at;
        let mut decoded: Option<String> = None;
        loop {
            match self.peek().ok_or(JsonError)? {
                b'"' => {
                    let last = self.since(start)?;
                    self.at += 1;
                    return Ok(match decoded {
                        None => Cow::Borrowed(last),
                        Some(before) => Cow::Owned(before + last),
                    });
                }
                b'\\' => {
                    let before = self.since(start)?;
                    self.at += 1;
                    let character = self.escape()?;
                    let decoded = decoded.get_or_insert_default();
                    decoded.push_str(before);
                    decoded.push(character);
                    start = self.at;
                }
                0..=0x1f => return Err(JsonError),
                _ => self.at += 1,
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let kind = self.peek().ok_or(JsonError)?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let first = self.hex4()?;
                let code = if (0xd800..0xdc00).contains(&first) {
                    self.expect(b'\\')?;
                    self.expect(b'u')?;
                    let second = self.hex4()?;
                    let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400).ok_or(JsonError)?;
                    0x1_0000 + ((first - 0xd800) << 10) + low
                } else {
                    first
                };
                char::from_u32(code).ok_or(JsonError)?
            }
            _ => return Err(JsonError),
        })
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at..self.at.saturating_add(4)).ok_or(JsonError)?;
        self.at += 4;
        if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            u32::from_str_radix(digits, 16).map_err(|_| JsonError)
        } else {
            Err(JsonError)
        }
    }
}

fn is_at(pointer: &Pointer, path: &[Step<'_>]) -> bool {
    let fits = |(want, step): (&str, &Step<'_>)| match step {
        Step::Name(name) => want == *name,
        Step::Index(index) => want.parse() == Ok(*index) && (want == "0" || !want.starts_with(['0', '+'])),
    };
    let steps = pointer.steps.iter().map(|step| &**step);
    pointer.steps.len() == path.len() && steps.zip(path).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(body: &str, pointer: &str) -> Result<Option<String>, JsonError> {
        let found = find(body.as_bytes(), &[pointer.parse().unwrap()])?;
        Ok(found.into_iter().next().flatten().and_then(|scalar| scalar.text().map(str::to_owned)))
    }

    #[test]
    fn values_by_pointer() {
        assert_eq!(
            at(r#" {"a":{"b":[1,{"c/~":"x\u00e9\ud83d\ude00\n"}]}} "#, "/a/b/1/c~1~0").unwrap().unwrap(),
            "xé😀\n"
        );
        assert_eq!(at(r#"{"a":-1.5e+3}"#, "/a").unwrap().unwrap(), "-1.5e+3");
        assert_eq!(at("[10,20]", "/1").unwrap().unwrap(), "20");
        for other in ["/01", "/+1", "/2", "/1/0"] {
            assert_eq!(at("[10,20]", other), Ok(None), "{other}");
        }
        assert_eq!(at(r#"{"a":null}"#, "/a"), Ok(None));
        assert_eq!(at(r#"{"\u0061":"x"}"#, "/a").unwrap().unwrap(), "x");
    }

    #[test]
    fn nothing_that_reads_two_ways() {
        for bad in [
            "",
            "{",
            "[1,]",
            "[01]",
            "[1.]",
            "[+1]",
            "[.5]",
            "[1e]",
            "{\"a\":1,}",
            "{a:1}",
            "tru",
            "[1] 2",
            "\u{feff}[]",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"b":1,"b":1}}"#,
            r#"["\ud800"]"#,
            r#"["\ud800\u0041"]"#,
            r#"["\x"]"#,
            "[\"a\nb\"]",
            r#"["\u00g0"]"#,
            r#"["\u+123"]"#,
            "[\"é",
            "NaN",
            "'a'",
            "/**/[]",
        ] {
            assert_eq!(at(bad, "/a"), Err(JsonError), "{bad}");
        }
        assert_eq!(find(b"[\"\xff\"]", &[]), Err(JsonError));
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(at(&nested(128), "/a").is_ok());
        assert!(at(&nested(130), "/a").is_err());
        assert!(at(&nested(1_000_000), "/a").is_err());
        // Equal names in different objects are no repetition.
        assert!(at(r#"[{"a":1},{"a":{"a":2}}]"#, "/a").is_ok());
        let members = |count: usize| (0..count).map(|at| format!("\"{at}\":0")).collect::<Vec<_>>().join(",");
        assert!(at(&format!("{{{}}}", members(65_536)), "/a").is_ok());
        assert!(at(&format!("{{{}}}", members(65_537)), "/a").is_err());
    }
}
