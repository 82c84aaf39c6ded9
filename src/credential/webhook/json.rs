//! JSON (RFC 8259), strictly: what two parsers could read differently is refused.
//!
//! A name twice in one object, text after the value, lone surrogates, a byte order mark and what is not UTF-8 are all
//! refused; depth and memory are bounded. [`find`] builds no tree, so that a body costs no multiple of its size.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt::Formatter;
use std::str::FromStr;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of arrays and objects; `serde_json` itself ends at 127.
const MOST_DEPTH: usize = 100;

/// Most values of a tree, and names of the objects that are open, together: a megabyte of `[[],[],…` does not become thirty.
const MOST_HELD: usize = 65_536;

/// A JSON pointer (RFC 6901) to a value below the outermost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    steps: Box<[Box<str>]>,
}

/// Not a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a JSON pointer of 1 to 16 names, as in '/signature/token'")]
pub struct PointerError;

/// Why a text is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or something after it.
    #[error("the body is not JSON")]
    NotJson,
    /// One object has a name twice, in whatever spelling.
    #[error("the body's JSON has a name twice in one object")]
    Repeated,
    /// Nested deeper than any sender does.
    #[error("the body's JSON is nested over {MOST_DEPTH} levels deep")]
    TooDeep,
    /// More than any sender sends.
    #[error("the body's JSON has over {MOST_HELD} values or names")]
    TooMany,
}

/// A value that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A string, decoded.
    Text(String),
    /// An integer as it was written: of 64 bits, and not `-0`.
    Number(String),
    /// Anything else. Numbers with a fraction or an exponent have several spellings, and no sender signs one.
    Other,
}

/// Values in the order of the pointers.
pub type Found = Vec<Option<Scalar>>;

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

impl Scalar {
    /// The text of a string or an integer.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text),
            Self::Other => None,
        }
    }

    fn of(value: Value) -> Self {
        match value {
            Value::String(text) => Self::Text(text),
            Value::Number(number) if !number.is_f64() => Self::Number(number.to_string()),
            Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Self::Other
            }
        }
    }
}

/// Reads the whole body into a tree.
///
/// # Errors
/// [`JsonError`].
pub fn parse(body: &[u8]) -> Result<Value, JsonError> {
    read(body, Goal::Tree, 0).map(|(tree, _)| tree)
}

/// Reads the whole body and keeps only what `wanted` points to.
///
/// # Errors
/// [`JsonError`].
pub fn find(body: &[u8], wanted: &[Pointer]) -> Result<Found, JsonError> {
    let ahead = wanted.iter().enumerate().map(|(index, pointer)| Ahead { index, steps: &pointer.steps });
    read(body, Goal::Pointed(ahead.collect()), wanted.len()).map(|(_, found)| found)
}

fn read(body: &[u8], goal: Goal<'_>, wanted: usize) -> Result<(Value, Found), JsonError> {
    let state = State {
        held: Cell::new(0),
        broken: Cell::new(JsonError::NotJson),
        found: RefCell::new(vec![None; wanted]),
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let tree = Strict { state: &state, depth: 0, goal }
        .deserialize(&mut deserializer)
        .and_then(|tree| deserializer.end().map(|()| tree))
        .map_err(|_| state.broken.get())?;
    Ok((tree, state.found.into_inner()))
}

/// What is held, what was found, and what was broken: serde's own errors are only text.
struct State {
    held: Cell<usize>,
    broken: Cell<JsonError>,
    found: RefCell<Found>,
}

/// What to keep of a value.
#[derive(Clone)]
enum Goal<'w> {
    /// All of it.
    Tree,
    /// What these point to; nothing at all where there is none.
    Pointed(Vec<Ahead<'w>>),
}

/// A pointer, and the steps that are still to go.
#[derive(Clone, Copy)]
struct Ahead<'w> {
    index: usize,
    steps: &'w [Box<str>],
}

impl Goal<'_> {
    /// What to keep of a child, which a step that `is_it` leads to.
    fn child(&self, is_it: impl Fn(&str) -> bool) -> Self {
        match self {
            Self::Tree => Self::Tree,
            Self::Pointed(ahead) => Self::Pointed(
                ahead
                    .iter()
                    .filter_map(|Ahead { index, steps }| {
                        let (first, steps) = steps.split_first()?;
                        is_it(first).then_some(Ahead { index: *index, steps })
                    })
                    .collect(),
            ),
        }
    }
}

/// Reads one value. What it gives is the tree, or `Null` where only something in it is wanted.
struct Strict<'s, 'w> {
    state: &'s State,
    depth: usize,
    goal: Goal<'w>,
}

impl State {
    fn refuse<E: Error>(&self, why: JsonError) -> E {
        self.broken.set(why);
        E::custom(why)
    }

    fn hold<E: Error>(&self) -> Result<(), E> {
        let held = self.held.get() + 1;
        self.held.set(held);
        if held > MOST_HELD { Err(self.refuse(JsonError::TooMany)) } else { Ok(()) }
    }
}

impl Strict<'_, '_> {
    fn depth_inside<E: Error>(&self) -> Result<usize, E> {
        if self.depth == MOST_DEPTH { Err(self.state.refuse(JsonError::TooDeep)) } else { Ok(self.depth + 1) }
    }

    /// Takes a value: `value` is only made where somebody wants it.
    fn take<E: Error>(self, value: impl FnOnce() -> Value) -> Result<Value, E> {
        match self.goal {
            Goal::Tree => {
                self.state.hold()?;
                Ok(value())
            }
            Goal::Pointed(ahead) => {
                let mut here = ahead.into_iter().filter(|ahead| ahead.steps.is_empty()).peekable();
                if here.peek().is_some() {
                    let scalar = Scalar::of(value());
                    let mut found = self.state.found.borrow_mut();
                    here.for_each(|ahead| {
                        if let Some(found) = found.get_mut(ahead.index) {
                            *found = Some(scalar.clone());
                        }
                    });
                }
                Ok(Value::Null)
            }
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.take(|| Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.take(|| Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.take(|| value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.take(|| value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| self.state.refuse(JsonError::NotJson))?;
        self.take(|| Value::Number(number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.take(|| value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let (state, depth) = (self.state, self.depth_inside()?);
        let mut tree = Vec::new();
        for index in 0_usize.. {
            let goal = self.goal.child(|step| is_index(step, index));
            let Some(item) = items.next_element_seed(Strict { state, depth, goal })? else { break };
            if let Goal::Tree = self.goal {
                tree.push(item);
            }
        }
        self.take(|| Value::Array(tree))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (state, depth) = (self.state, self.depth_inside()?);
        let mut names: HashSet<Cow<'de, str>> = HashSet::new();
        let mut tree = Map::new();
        while let Some(name) = members.next_key_seed(Name)? {
            state.hold()?;
            let goal = self.goal.child(|step| step == name);
            let kept = matches!(goal, Goal::Tree).then(|| name.clone().into_owned());
            if !names.insert(name) {
                return Err(state.refuse(JsonError::Repeated));
            }
            let member = members.next_value_seed(Strict { state, depth, goal })?;
            if let Some(kept) = kept {
                tree.insert(kept, member);
            }
        }
        state.held.set(state.held.get().saturating_sub(names.len()));
        self.take(|| Value::Object(tree))
    }
}

/// RFC 6901 section 4: digits without a zero before them.
fn is_index(step: &str, index: usize) -> bool {
    step.parse() == Ok(index) && (step == "0" || !step.starts_with(['0', '+']))
}

/// A member's name, borrowed where nothing in it is escaped.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        assert_eq!(at("[10,20]", "/1").unwrap().unwrap(), "20");
        for other in ["/01", "/+1", "/2", "/1/0"] {
            assert_eq!(at("[10,20]", other), Ok(None), "{other}");
        }
        assert_eq!(at(r#"{"a":null}"#, "/a"), Ok(None));
        assert_eq!(at(r#"{"\u0061":"x"}"#, "/a").unwrap().unwrap(), "x");
        let several = ["/b/c", "/a", "/b", "/a", "/d"].map(|pointer| pointer.parse().unwrap());
        let text = |text: &str| Some(Scalar::Text(text.to_owned()));
        assert_eq!(
            find(br#"{"a":"x","b":{"c":"y"}}"#, &several).unwrap(),
            [text("y"), text("x"), Some(Scalar::Other), text("x"), None]
        );
    }

    #[test]
    fn integers_are_what_was_written_and_other_numbers_are_not_read() {
        for number in ["0", "7", "-7", "9223372036854775807", "-9223372036854775808", "18446744073709551615"]
        {
            let found = find(format!("[{number}]").as_bytes(), &["/0".parse().unwrap()]).unwrap();
            assert_eq!(found, [Some(Scalar::Number(number.to_owned()))]);
        }
        for number in ["-0", "1.0", "1e2", "-1.5e+3", "18446744073709551616", "-9223372036854775809"] {
            let found = find(format!("[{number}]").as_bytes(), &["/0".parse().unwrap()]).unwrap();
            assert_eq!(found, [Some(Scalar::Other)], "{number}");
        }
    }

    #[test]
    fn what_is_taken_is_what_everyone_reads() {
        for text in ["null", "[1, -2, 3.5, true, \"a\\u00e9\"]", r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#] {
            assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    /// What both readers say of `body`.
    fn refused(body: &[u8]) -> JsonError {
        let error = parse(body).unwrap_err();
        assert_eq!(find(body, &["/a".parse().unwrap()]), Err(error));
        assert_eq!(find(body, &[]), Err(error));
        error
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
            "{}{}",
            "{} x",
            "\u{feff}[]",
            r#"["\ud800"]"#,
            r#"["\ud800\u0041"]"#,
            r#"["\udc00"]"#,
            r#"{"\ud800":1}"#,
            r#"["\x"]"#,
            "[\"a\nb\"]",
            r#"["\u00g0"]"#,
            r#"["\u+123"]"#,
            "[\"é",
            "NaN",
            "1e999",
            "'a'",
            "/**/[]",
        ] {
            assert_eq!(refused(bad.as_bytes()), JsonError::NotJson, "{bad}");
        }
        assert_eq!(refused(b"[\"\xff\"]"), JsonError::NotJson);
        for bad in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"b":1,"b":1}}"#,
            r#"[{"x":{"b":1,"c":2,"b":3}}]"#,
        ] {
            assert_eq!(refused(bad.as_bytes()), JsonError::Repeated, "{bad}");
        }
        // Equal names in different objects are no repetition.
        assert!(at(r#"[{"a":1},{"a":{"a":2}}]"#, "/a").is_ok());
    }

    #[test]
    fn depth_and_memory_are_bounded() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(nested(MOST_DEPTH).as_bytes()).is_ok());
        assert!(at(&nested(MOST_DEPTH), "/a").is_ok());
        assert_eq!(refused(nested(MOST_DEPTH + 1).as_bytes()), JsonError::TooDeep);
        assert_eq!(refused("{\"a\":".repeat(1_000_000).as_bytes()), JsonError::TooDeep);
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|at| format!("\"{at}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert!(at(&members(MOST_HELD), "/a").is_ok());
        assert_eq!(refused(members(MOST_HELD + 1).as_bytes()), JsonError::TooMany);
        let open = format!("{{\"x\":{}}}", members(MOST_HELD));
        assert_eq!(refused(open.as_bytes()), JsonError::TooMany, "names of all open objects count");
        let many = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert!(parse(many(MOST_HELD - 1).as_bytes()).is_ok());
        assert_eq!(parse(many(MOST_HELD).as_bytes()), Err(JsonError::TooMany));
        assert!(at(&many(MOST_HELD * 2), "/a").is_ok(), "what is skipped is not held");
        let one_by_one = format!("[{}{{}}]", r#"{"a":0},"#.repeat(MOST_HELD));
        assert!(at(&one_by_one, "/a").is_ok(), "a closed object's names are forgotten");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            // What it takes, a plain parser takes with the same meaning.
            if let Ok(value) = parse(&bytes) {
                prop_assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), value);
            }
        }
    }
}
