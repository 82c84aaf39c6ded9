//! Which procedures a body calls: JSON-RPC (jsonrpc.org/specification), alone or as a batch, and XML-RPC (xmlrpc.com/spec).

use http::Method;
use serde_json::Value;

use super::operation::{MOST_BYTES, Message, may_mean};
use crate::credential::webhook::json;

/// Most calls in one batch.
const MOST_CALLS: usize = 100;

/// True for a name that an XML-RPC call can have (`[A-Za-z0-9_.:/]`), and that no encoding changes.
pub fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'/');
    (1..=128).contains(&text.len()) && text.bytes().all(fits)
}

/// The procedures of a JSON-RPC body, at least one; `None` if a reader could see others.
pub fn json_calls(message: &Message<'_>) -> Option<Vec<String>> {
    if !is_readable(message) || !(message.is("application/json") || message.is("application/json-rpc")) {
        return None;
    }
    // A server that reads the query as well could find another name there.
    if message.parameters()?.iter().any(|(name, _)| may_mean(name, "method")) {
        return None;
    }
    match json::parse(message.body).ok()? {
        Value::Array(batch) if batch.len() <= MOST_CALLS => {
            let calls: Vec<String> = batch.iter().map(json_call).collect::<Option<_>>()?;
            (!calls.is_empty()).then_some(calls)
        }
        call @ Value::Object(_) => json_call(&call).map(|name| vec![name]),
        Value::Array(_) | Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

fn json_call(call: &Value) -> Option<String> {
    let call = call.as_object()?;
    // `Method` is `method` to a server in Go.
    let others = call.keys().filter(|name| name.eq_ignore_ascii_case("method")).count();
    let name = call.get("method")?.as_str()?;
    (others == 1 && is_name(name)).then(|| name.to_owned())
}

/// The procedure of an XML-RPC body; `None` if a reader could see another one.
pub fn xml_call<'m>(message: &Message<'m>) -> Option<&'m str> {
    if !is_readable(message) || !(message.is("text/xml") || message.is("application/xml")) {
        return None;
    }
    let text = std::str::from_utf8(message.body).ok()?.trim_ascii();
    // Comments, CDATA and entities could hide a name; clients write none.
    if text.contains("<!") {
        return None;
    }
    let text = match text.strip_prefix("<?xml ") {
        Some(declared) => {
            let (declaration, after) = declared.split_once("?>")?;
            let declaration = declaration.to_ascii_lowercase();
            if declaration.contains("encoding") && !declaration.contains("utf-8") {
                return None;
            }
            after.trim_ascii_start()
        }
        None => text,
    };
    let after = text.strip_prefix("<methodCall>")?.trim_ascii_start().strip_prefix("<methodName>")?;
    let (name, after) = after.split_once("</methodName>")?;
    // The only name, in the only call: a lenient reader could take a second one.
    let lower = after.to_ascii_lowercase();
    let only = !lower.contains("methodname") && lower.matches("methodcall").count() == 1;
    (is_name(name) && only && after.ends_with("</methodCall>")).then_some(name)
}

fn is_readable(message: &Message<'_>) -> bool {
    *message.method == Method::POST && message.body.len() <= MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message<'a>(content_type: &'a str, body: &'a str) -> Message<'a> {
        Message {
            method: &Method::POST,
            query: None,
            content_type: Some(content_type),
            body: body.as_bytes(),
        }
    }

    #[test]
    fn names_in_json() {
        let calls = |body: &str| json_calls(&message("application/json", body));
        let one = r#"{"jsonrpc":"2.0","method":"crm.get","params":{"method":"x"},"id":1}"#;
        assert_eq!(calls(one).unwrap(), ["crm.get"]);
        assert_eq!(calls(&format!("[{one},{}]", one.replace("get", "set"))).unwrap(), ["crm.get", "crm.set"]);
        for body in [
            "",
            "[]",
            "[1]",
            "{}",
            r#"{"method":7}"#,
            r#"{"method":""}"#,
            r#"{"method":"a b"}"#,
            r#"{"method":"a","method":"b"}"#,
            r#"{"method":"a","meth\u006fd":"b"}"#,
            r#"{"method":"a","Method":"b"}"#,
            r#"{"METHOD":"a"}"#,
        ] {
            assert_eq!(calls(body), None, "{body}");
        }
        assert_eq!(calls(&format!("[{}{one}]", format!("{one},").repeat(MOST_CALLS))), None);
        let with = |query| json_calls(&Message { query: Some(query), ..message("application/json", one) });
        for query in ["method=x", "a=1&%20Method[]=x", "m%65thod", "+method%00=x", "a=%zz"] {
            assert_eq!(with(query), None, "{query}");
        }
        assert_eq!(with("methods=x&_method=y&a=method").unwrap(), ["crm.get"]);
        assert_eq!(json_calls(&message("text/plain", one)), None);
        assert_eq!(json_calls(&Message { method: &Method::GET, ..message("application/json", one) }), None);
    }

    #[test]
    fn the_name_in_xml() {
        let call = |body: &str| xml_call(&message("text/xml", body)).map(str::to_owned);
        let params = "<params><param><value>x &amp; y</value></param></params>";
        for before in ["", "<?xml version=\"1.0\"?>\n", "<?xml version='1.0' encoding='UTF-8'?>"] {
            let body =
                format!("{before}<methodCall> <methodName>crm.get</methodName>{params}</methodCall>\n");
            assert_eq!(call(&body).as_deref(), Some("crm.get"), "{body}");
        }
        for body in [
            "",
            "<methodCall><methodName>a</methodName>",
            "<methodCall><methodName> a</methodName></methodCall>",
            "<methodCall><methodName>&#97;</methodName></methodCall>",
            "<methodCall><params/><methodName>a</methodName></methodCall>",
            "<methodCall x='1'><methodName>a</methodName></methodCall>",
            "<methodCall><methodName>a</methodName><methodName>b</methodName></methodCall>",
            "<methodCall><methodName>a</methodName></methodCall><methodCall></methodCall>",
            "<methodCall><methodName>a</methodName><!-- x --></methodCall>",
            "<!DOCTYPE x><methodCall><methodName>a</methodName></methodCall>",
            "<?xml version='1.0' encoding='utf-16'?><methodCall><methodName>a</methodName></methodCall>",
        ] {
            assert_eq!(call(body), None, "{body}");
        }
    }
}
