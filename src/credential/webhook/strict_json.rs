//! JSON that two parsers cannot read differently: a name twice in one object is refused, depth and size are bounded.

use std::cell::Cell;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of arrays and objects. A Telegram update has about ten levels.
const MOST_DEPTH: usize = 64;
/// Most values in one document, so that a megabyte of `[[],[],…` does not become thirty.
const MOST_VALUES: usize = 50_000;

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
    /// More values than any sender sends.
    #[error("the body's JSON has over {MOST_VALUES} values")]
    TooMany,
}

/// Reads one document, all of it.
///
/// # Errors
/// [`JsonError`].
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let bounds = Bounds { left: Cell::new(MOST_VALUES), broken: Cell::new(JsonError::NotJson) };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    Strict { bounds: &bounds, depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|_| bounds.broken.get())
}

/// What is left to spend, and what was overspent: serde's own errors are only text.
struct Bounds {
    left: Cell<usize>,
    broken: Cell<JsonError>,
}

#[derive(Clone, Copy)]
struct Strict<'b> {
    bounds: &'b Bounds,
    depth: usize,
}

impl Strict<'_> {
    fn refuse<E: serde::de::Error>(self, why: JsonError) -> E {
        self.bounds.broken.set(why);
        E::custom(why)
    }

    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MOST_DEPTH {
            return Err(self.refuse(JsonError::TooDeep));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.bounds.left.get().checked_sub(1) else {
            return Err(self.refuse(JsonError::TooMany));
        };
        self.bounds.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse(JsonError::NotJson))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut out = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if out.contains_key(&name) {
                return Err(self.refuse(JsonError::Repeated));
            }
            out.insert(name, members.next_value_seed(inner)?);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_taken_is_what_everyone_reads() {
        for text in ["null", "[1, -2, 3.5, true, \"a\\u00e9\"]", r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#] {
            assert_eq!(parse(text.as_bytes()), Ok(serde_json::from_str(text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_could_be_read_differently_is_refused() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"[{"x":{"b":1,"c":2,"b":3}}]"#] {
            assert_eq!(parse(text.as_bytes()), Err(JsonError::Repeated), "{text}");
        }
        for text in ["", "{", "{}{}", "{} x", "{'a':1}", "[1,]", "NaN", "\u{feff}{}", "1e999"] {
            assert_eq!(parse(text.as_bytes()), Err(JsonError::NotJson), "{text}");
        }
        assert_eq!(parse(b"\"\xff\""), Err(JsonError::NotJson));
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MOST_DEPTH).as_bytes()).is_ok());
        assert_eq!(parse(nested(MOST_DEPTH + 1).as_bytes()), Err(JsonError::TooDeep));
        let many = |count: usize| format!("[0{}]", ",0".repeat(count - 1));
        assert!(parse(many(MOST_VALUES - 1).as_bytes()).is_ok());
        assert_eq!(parse(many(MOST_VALUES).as_bytes()), Err(JsonError::TooMany));
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
