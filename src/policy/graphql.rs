//! Whether a GraphQL request reads or changes (spec.graphql.org/October2021, and the "GraphQL over HTTP" draft for where the
//! document stands).
//!
//! It is no parser of GraphQL: it knows tokens, balanced brackets and the definitions of a document, which is all that tells
//! its operations apart, and takes nothing that another reader could cut into other tokens. What it does not take is
//! [`GraphqlKind::Unclear`].

use http::Method;
use serde_json::{Map, Value};

use super::operation::{MOST_BYTES, Message, may_mean};
use crate::credential::webhook::json;

/// Deepest nesting of brackets, and most definitions and requests in one body.
const MOST_DEPTH: usize = 100;
const MOST_DEFINITIONS: usize = 200;
const MOST_REQUESTS: usize = 100;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GraphqlKind {
    /// It reads.
    Query,
    /// It changes something, or some of its batch does.
    Mutation,
    /// It listens.
    Subscription,
    /// It cannot be told with certainty.
    Unclear,
}

/// Not a document of which every reader sees the same definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Doubt;

/// What a request does: `GET` with parameters, `POST` with a document or with JSON, alone or as a batch.
pub fn kind(message: &Message<'_>) -> GraphqlKind {
    let kind = if message.body.len() > MOST_BYTES {
        Err(Doubt)
    } else if *message.method == Method::GET || *message.method == Method::HEAD {
        by_parameters(message)
    } else {
        by_body(message)
    };
    kind.unwrap_or(GraphqlKind::Unclear)
}

/// The names that mean something to a GraphQL server.
const FIELDS: [&str; 4] = ["query", "operationName", "variables", "extensions"];

fn by_parameters(message: &Message<'_>) -> Result<GraphqlKind, Doubt> {
    if !message.body.is_empty() {
        return Err(Doubt);
    }
    let (mut document, mut name) = (None, None);
    for (field, value) in message.parameters().ok_or(Doubt)? {
        let seen = match field.as_str() {
            "query" => &mut document,
            "operationName" => &mut name,
            "variables" => continue,
            // Persisted documents (`extensions`, `id`, `documentId`): what they do stands elsewhere.
            _ => return Err(Doubt),
        };
        if seen.replace(value).is_some() {
            return Err(Doubt);
        }
    }
    document_kind(&document.ok_or(Doubt)?, name.as_deref().filter(|name| !name.is_empty()))
}

fn by_body(message: &Message<'_>) -> Result<GraphqlKind, Doubt> {
    // Some servers read the query first (express-graphql), some read `query[]`, `Query` and ` query` as `query`.
    let meant = |name: &str| FIELDS.iter().any(|field| may_mean(name, field));
    if message.parameters().ok_or(Doubt)?.iter().any(|(name, _)| meant(name)) {
        return Err(Doubt);
    }
    if message.is("application/graphql") {
        return document_kind(std::str::from_utf8(message.body).map_err(|_| Doubt)?, None);
    }
    if !message.is("application/json") {
        return Err(Doubt);
    }
    // A name twice in one object, in whatever spelling, is refused there.
    match json::parse(message.body).map_err(|_| Doubt)? {
        Value::Object(request) => by_object(&request),
        Value::Array(batch) => by_batch(&batch),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Err(Doubt),
    }
}

/// A batch changes something if one of its requests does.
fn by_batch(batch: &[Value]) -> Result<GraphqlKind, Doubt> {
    if batch.is_empty() || batch.len() > MOST_REQUESTS {
        return Err(Doubt);
    }
    let mut kinds = Vec::new();
    for request in batch {
        kinds.push(by_object(request.as_object().ok_or(Doubt)?)?);
    }
    let first = kinds.first().copied().ok_or(Doubt)?;
    if kinds.contains(&GraphqlKind::Mutation) {
        Ok(GraphqlKind::Mutation)
    } else if kinds.iter().all(|kind| *kind == first) {
        Ok(first)
    } else {
        Err(Doubt)
    }
}

fn by_object(request: &Map<String, Value>) -> Result<GraphqlKind, Doubt> {
    // `Query` is `query` to a server in Go; `id` and `documentId` name a document that stands elsewhere.
    if request.keys().any(|name| !FIELDS.contains(&name.as_str())) {
        return Err(Doubt);
    }
    // As a string it is read by some servers, and hides what is in it from whoever looks here.
    if !matches!(request.get("variables"), None | Some(Value::Null | Value::Object(_))) {
        return Err(Doubt);
    }
    let extends = match request.get("extensions") {
        None | Some(Value::Null) => false,
        Some(Value::Object(extensions)) => extensions.contains_key("persistedQuery"),
        Some(_) => true,
    };
    let name = match request.get("operationName") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.as_str()).filter(|name| !name.is_empty()),
        Some(_) => return Err(Doubt),
    };
    match request.get("query") {
        Some(Value::String(document)) if !extends => document_kind(document, name),
        Some(_) | None => Err(Doubt),
    }
}

/// What the operation of that name does, or the only one.
fn document_kind(document: &str, name: Option<&str>) -> Result<GraphqlKind, Doubt> {
    let operations = Definitions { tokens: Tokens { rest: document } }.operations()?;
    let lonely = operations.len() == 1;
    // An operation without a name must be alone (section 5.2.2.1), and names are unique (5.2.1.1).
    let unnamed = operations.iter().any(|(known, _)| known.is_none());
    let repeated = operations
        .iter()
        .enumerate()
        .any(|(at, (known, _))| operations.iter().take(at).any(|(other, _)| known == other));
    if repeated || unnamed && !lonely {
        return Err(Doubt);
    }
    match (name, operations.as_slice()) {
        (None, [(_, kind)]) => Ok(*kind),
        (None, _) => Err(Doubt),
        (Some(name), operations) => {
            let chosen = operations.iter().find(|(known, _)| *known == Some(name));
            chosen.map(|(_, kind)| *kind).ok_or(Doubt)
        }
    }
}

struct Definitions<'d> {
    tokens: Tokens<'d>,
}

type Operation<'d> = (Option<&'d str>, GraphqlKind);

impl<'d> Definitions<'d> {
    fn operations(mut self) -> Result<Vec<Operation<'d>>, Doubt> {
        let (mut operations, mut count) = (Vec::new(), 0);
        while let Some(token) = self.tokens.next()? {
            count += 1;
            if count > MOST_DEFINITIONS {
                return Err(Doubt);
            }
            match token {
                Token::Open('{') => {
                    self.group('}')?;
                    operations.push((None, GraphqlKind::Query));
                }
                Token::Name("query") => operations.push((self.operation()?, GraphqlKind::Query)),
                Token::Name("mutation") => operations.push((self.operation()?, GraphqlKind::Mutation)),
                Token::Name("subscription") => {
                    operations.push((self.operation()?, GraphqlKind::Subscription));
                }
                Token::Name("fragment") => self.fragment()?,
                // Definitions of types, descriptions, and whatever comes after this edition of the language.
                Token::Name(_) | Token::Open(_) | Token::Close(_) | Token::At | Token::Other => {
                    return Err(Doubt);
                }
            }
        }
        Ok(operations)
    }

    /// `Name? (variables)? @directives* { selections }`, after the keyword.
    fn operation(&mut self) -> Result<Option<&'d str>, Doubt> {
        let mut token = self.must()?;
        let mut name = None;
        if let Token::Name(given) = token {
            name = Some(given);
            token = self.must()?;
        }
        if token == Token::Open('(') {
            self.group(')')?;
            token = self.must()?;
        }
        self.selections(token)?;
        Ok(name)
    }

    /// `Name on Name @directives* { selections }`, after the keyword.
    fn fragment(&mut self) -> Result<(), Doubt> {
        let (name, on, kind) = (self.must()?, self.must()?, self.must()?);
        let Token::Name(name) = name else { return Err(Doubt) };
        if name == "on" || on != Token::Name("on") || !matches!(kind, Token::Name(_)) {
            return Err(Doubt);
        }
        let token = self.must()?;
        self.selections(token)
    }

    fn selections(&mut self, mut token: Token<'d>) -> Result<(), Doubt> {
        while token == Token::At {
            let Token::Name(_) = self.must()? else { return Err(Doubt) };
            token = self.must()?;
            if token == Token::Open('(') {
                self.group(')')?;
                token = self.must()?;
            }
        }
        if token == Token::Open('{') { self.group('}') } else { Err(Doubt) }
    }

    /// To the end of the group that is closed by `close`, whatever balanced groups are in it.
    fn group(&mut self, close: char) -> Result<(), Doubt> {
        let mut open = vec![close];
        while let Some(innermost) = open.last().copied() {
            match self.must()? {
                Token::Open(bracket) if open.len() < MOST_DEPTH => open.push(closing(bracket)),
                Token::Close(bracket) if bracket == innermost => drop(open.pop()),
                Token::Open(_) | Token::Close(_) => return Err(Doubt),
                Token::Name(_) | Token::At | Token::Other => {}
            }
        }
        Ok(())
    }

    fn must(&mut self) -> Result<Token<'d>, Doubt> {
        self.tokens.next()?.ok_or(Doubt)
    }
}

const fn closing(bracket: char) -> char {
    match bracket {
        '(' => ')',
        '[' => ']',
        _ => '}',
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'d> {
    Name(&'d str),
    Open(char),
    Close(char),
    At,
    /// Strings, numbers and other punctuation.
    Other,
}

struct Tokens<'d> {
    rest: &'d str,
}

impl<'d> Tokens<'d> {
    fn next(&mut self) -> Result<Option<Token<'d>>, Doubt> {
        loop {
            let mut characters = self.rest.chars();
            let Some(first) = characters.next() else { return Ok(None) };
            let whole = self.rest;
            self.rest = characters.as_str();
            let token = match first {
                ' ' | '\t' | '\n' | '\r' | ',' => continue,
                '#' => {
                    self.comment()?;
                    continue;
                }
                '(' | '[' | '{' => Token::Open(first),
                ')' | ']' | '}' => Token::Close(first),
                '@' => Token::At,
                '!' | '$' | '&' | ':' | '=' | '|' => Token::Other,
                '.' => {
                    self.rest = self.rest.strip_prefix("..").ok_or(Doubt)?;
                    Token::Other
                }
                '"' => {
                    self.string()?;
                    Token::Other
                }
                '0'..='9' | '-' => {
                    self.take(|it| it.is_ascii_alphanumeric() || matches!(it, '.' | '+' | '-' | '_'));
                    Token::Other
                }
                'A'..='Z' | 'a'..='z' | '_' => {
                    self.take(|it| it.is_ascii_alphanumeric() || it == '_');
                    let length = whole.len() - self.rest.len();
                    Token::Name(whole.get(..length).ok_or(Doubt)?)
                }
                _ => return Err(Doubt),
            };
            return Ok(Some(token));
        }
    }

    fn take(&mut self, fits: impl Fn(char) -> bool) {
        self.rest = self.rest.trim_start_matches(fits);
    }

    /// To the end of the line. A character that only some readers take for a line's end is refused.
    fn comment(&mut self) -> Result<(), Doubt> {
        let (comment, _) = self.rest.split_once(['\n', '\r']).unwrap_or((self.rest, ""));
        if comment.chars().any(is_doubtful) {
            return Err(Doubt);
        }
        self.rest = self.rest.get(comment.len()..).ok_or(Doubt)?;
        Ok(())
    }

    /// A string on one line. Block strings are refused: readers from before June 2018 see `""` and the start of another
    /// string in their three quotes, and requests have variables for long texts.
    fn string(&mut self) -> Result<(), Doubt> {
        if self.rest.starts_with("\"\"") {
            return Err(Doubt);
        }
        let mut characters = self.rest.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => {
                    self.rest = characters.as_str();
                    return Ok(());
                }
                '\\' => {
                    let escaped = characters.next();
                    if !escaped
                        .is_some_and(|it| matches!(it, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't' | 'u'))
                    {
                        return Err(Doubt);
                    }
                }
                '\n' | '\r' => return Err(Doubt),
                other if is_doubtful(other) => return Err(Doubt),
                _ => {}
            }
        }
        Err(Doubt)
    }
}

/// Control characters, and what some languages take for the end of a line or skip.
const fn is_doubtful(character: char) -> bool {
    matches!(character, '\0'..='\x08' | '\x0b'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn of(document: &str) -> GraphqlKind {
        posted(&json!({ "query": document }).to_string())
    }

    fn posted(body: &str) -> GraphqlKind {
        sent(&Method::POST, None, "application/json", body)
    }

    fn sent(method: &Method, query: Option<&str>, content_type: &str, body: &str) -> GraphqlKind {
        kind(&Message { method, query, content_type: Some(content_type), body: body.as_bytes() })
    }

    #[test]
    fn one_operation() {
        for document in [
            "{ people { id } }",
            "query { mutation }",
            "query mutation { a }",
            "query Find($a: [Int!]! = [1, -2.5e+3], $b: In = {c: \"}\"}) @cached(for: 1) { a(x: {y: [$b]}) { ...F } }",
            "fragment mutation on T { a } query { ...mutation }",
            "# mutation { a }\n{ a }",
            "{ a(text: \"} mutation { b } #\\\" {\") }",
            "{ mutation: a, subscription }",
            "\u{20}\t,,\r\n{a}#",
        ] {
            assert_eq!(of(document), GraphqlKind::Query, "{document}");
        }
        for document in [
            "mutation { a }",
            "mutation query { a }",
            "mutation M($x: Int) @a @b(c: 1) { a }",
            "#{ a }\r mutation{a}",
            "fragment query on query { a } mutation{...query}",
        ] {
            assert_eq!(of(document), GraphqlKind::Mutation, "{document}");
        }
        assert_eq!(of("subscription { a }"), GraphqlKind::Subscription);
    }

    #[test]
    fn in_doubt_it_is_unclear() {
        for document in [
            "",
            "#",
            "query",
            "query {",
            "{ a }}",
            "{ a ]",
            "{ a ) }",
            "fragment F on T { a }",
            "fragment on on T { a } { a }",
            "fragment F on T ($a: Int) { a } { a }",
            "type T { a: Int } { a }",
            "\"text\" query { a }",
            "{ a } { b }",
            "{ a } query B { b }",
            "query A { a } query A { b }",
            "query A { a } mutation B { b }",
            "extend schema { mutation: M }",
            "Query { a }",
            "qu\\u0065ry { a }",
            "\u{feff}{ a }",
            "{ a } # \u{2028} mutation { b }",
            "{ a(x: \"\"\" \"\"\") }",
            "{ a(x: \"\n\") }",
            "{ a(x: \"\\x\") }",
            "{ a(x: \"unfinished) }",
            "{ .. a }",
            "{ ä }",
            "{ a };",
            "{ a } \0",
        ] {
            assert_eq!(of(document), GraphqlKind::Unclear, "{document}");
        }
        let deep = |depth: usize| format!("{}a{}", "{a".repeat(depth), "}".repeat(depth));
        assert_eq!(of(&deep(MOST_DEPTH)), GraphqlKind::Query);
        assert_eq!(of(&deep(MOST_DEPTH + 1)), GraphqlKind::Unclear);
        assert_eq!(of(&"fragment F on T {a}".repeat(MOST_DEFINITIONS + 1)), GraphqlKind::Unclear);
        assert_eq!(of(&format!("{{a}}{}", " ".repeat(MOST_BYTES))), GraphqlKind::Unclear);
    }

    #[test]
    fn several_operations_need_a_name() {
        let both = "query A { a } mutation B { b } fragment F on T { c }";
        let named = |name: Value| posted(&json!({ "query": both, "operationName": name }).to_string());
        assert_eq!(named(json!("A")), GraphqlKind::Query);
        assert_eq!(named(json!("B")), GraphqlKind::Mutation);
        for other in [json!("F"), json!("a"), json!(""), json!(null), json!(1), json!(["A"])] {
            assert_eq!(named(other.clone()), GraphqlKind::Unclear, "{other}");
        }
    }

    #[test]
    fn a_name_chooses_only_where_names_are_right() {
        for document in
            ["query A { a } mutation A { b }", "mutation { b } query A { a }", "query A { a } { b }"]
        {
            let body = json!({ "query": document, "operationName": "A" }).to_string();
            assert_eq!(posted(&body), GraphqlKind::Unclear, "{document}");
        }
    }

    #[test]
    fn json_that_reads_one_way() {
        for body in [
            r#"{"query":"{a}","variables":{"query":"mutation{a}"},"operationName":null,"extensions":{}}"#,
            r#"{"qu\u0065ry":"{a}"}"#,
            r#"[{"query":"{a}"},{"query":"query{b}"}]"#,
        ] {
            assert_eq!(posted(body), GraphqlKind::Query, "{body}");
        }
        assert_eq!(posted(r#"{"query":"\u006dutation{a}"}"#), GraphqlKind::Mutation);
        assert_eq!(posted(r#"[{"query":"{a}"},{"query":"mutation{b}"}]"#), GraphqlKind::Mutation);
        for body in [
            "",
            "[]",
            "null",
            "\"{a}\"",
            r#"{"query":"{a}","query":"mutation{a}"}"#,
            r#"{"query":"{a}","qu\u0065ry":"mutation{a}"}"#,
            r#"{"query":"{a}","Query":"mutation{a}"}"#,
            r#"{"query":"{a}","id":"7"}"#,
            r#"{"query":"{a}","documentId":"7"}"#,
            r#"{"query":"{a}","extensions":{"persistedQuery":{}}}"#,
            r#"{"query":"{a}","extensions":[]}"#,
            r#"{"extensions":{"persistedQuery":{"version":1}}}"#,
            r#"{"query":["{a}"]}"#,
            r#"{"variables":{}}"#,
            r#"{"query":"{a}","variables":"{}"}"#,
            r#"{"query":"{a}","variables":[]}"#,
            r#"[{"query":"{a}"},[]]"#,
            r#"[{"query":"{a}"},{"query":"subscription{b}"}]"#,
            r#"{"query":"{a}"} {"query":"mutation{a}"}"#,
        ] {
            assert_eq!(posted(body), GraphqlKind::Unclear, "{body}");
        }
    }

    #[test]
    fn where_the_document_stands() {
        let get = |query: &str| sent(&Method::GET, Some(query), "application/json", "");
        assert_eq!(get("query=%7Ba%7D&variables=%7B%7D&operationName="), GraphqlKind::Query);
        assert_eq!(get("query=mutation+B%7Ba%7D&operationName=B"), GraphqlKind::Mutation);
        for query in [
            "",
            "query=%7Ba%7D&query=mutation%7Ba%7D",
            "query=%7Ba%7D&Query=x",
            "query[]=%7Ba%7D",
            "query=%7Ba%7D&extensions=%7B%7D",
            "query=%7Ba",
            "query=%zz",
            "query=%ff",
        ] {
            assert_eq!(get(query), GraphqlKind::Unclear, "{query}");
        }
        assert_eq!(sent(&Method::GET, Some("query={a}"), "application/json", "x"), GraphqlKind::Unclear);
        let post = |query: &str, kind: &str, body: &str| sent(&Method::POST, Some(query), kind, body);
        let read = r#"{"query":"{a}"}"#;
        assert_eq!(post("trace=1", "application/json; charset=utf-8", read), GraphqlKind::Query);
        assert_eq!(post("", "application/graphql", "{a}"), GraphqlKind::Query);
        for (query, kind, body) in [
            ("query=mutation%7Ba%7D", "application/json", read),
            ("%71uery=mutation%7Ba%7D", "application/json", read),
            ("QUERY[]=x", "application/json", read),
            ("%20query=x", "application/json", read),
            ("+Query%00x=x", "application/json", read),
            ("operationName=B", "application/json", read),
            ("", "application/x-www-form-urlencoded", "query=%7Ba%7D"),
            ("", "multipart/form-data; boundary=x", read),
            ("", "application/json; charset=utf-7", read),
            ("", "text/plain", read),
        ] {
            assert_eq!(post(query, kind, body), GraphqlKind::Unclear, "{query} {kind}");
        }
        let silent =
            Message { method: &Method::POST, query: None, content_type: None, body: read.as_bytes() };
        assert_eq!(kind(&silent), GraphqlKind::Unclear);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(document in ".{0,60}", tail in "[{}()\\[\\]\"#a ]{0,40}") {
            let _ = of(&format!("{document}{tail}"));
        }

        /// Whatever stands before or behind it, a mutation is never taken for a query.
        #[test]
        fn a_mutation_cannot_hide(text in "[a-z{}()#\"\\\\ \n]{0,30}", before in prop::bool::ANY) {
            let document = if before { format!("mutation {{ a }}\n{text}") } else { format!("{text}\nmutation {{ a }}") };
            prop_assert_ne!(of(&document), GraphqlKind::Query, "{}", document);
        }
    }
}
