//! What of a file's text a mistake may show: all but what could be a secret, starred out byte for byte.
//!
//! The text may be anything, also broken TOML: what is in doubt is starred.

use crate::credential::api_key;

/// Names, or parts of them, whose values are starred.
const SECRETIVE: [&str; 9] =
    ["secret", "digest", "credential", "token", "password", "value", "upstream_path", "basic", "api_key"];
/// References and digests are no secrets.
const SHOWN: [&str; 3] = ["env:", "file:", "sha256:"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code,
    Comment,
    /// A string that ends in its line.
    Closed,
    /// A string that should have.
    Open,
    /// Between three quotes; these are starred whatever their name: one that was opened by mistake holds other lines.
    Multiline,
    Newline,
}

type Piece<'t> = (Kind, &'t str);

/// The text as it may be shown, of the same length.
pub(super) fn masked(text: &str) -> String {
    let pieces = pieces(text);
    let mut out = String::with_capacity(text.len());
    // How many brackets are open, and whether what stands in them is starred.
    let (mut depth, mut inside) = (0_usize, false);
    for line in pieces.split_inclusive(|(kind, _)| *kind == Kind::Newline) {
        let starred = (depth > 0 && inside) || is_secretive(line);
        mask_line(line, starred, depth > 0, &mut out);
        for (_, code) in line.iter().filter(|(kind, _)| *kind == Kind::Code) {
            let of = |brackets: [char; 2]| code.matches(brackets).count();
            depth = (depth + of(['[', '{'])).saturating_sub(of([']', '}']));
        }
        inside = starred;
    }
    out
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (kind, length) = first(rest);
        let (piece, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        pieces.push((kind, piece));
        rest = after;
    }
    pieces
}

/// The kind and length of the first piece.
fn first(text: &str) -> (Kind, usize) {
    let until = |ends: &[char]| text.find(ends).unwrap_or(text.len());
    match text.as_bytes() {
        [b'\n', ..] => (Kind::Newline, 1),
        [b'#', ..] => (Kind::Comment, until(&['\n'])),
        [quote @ (b'"' | b'\''), rest @ ..] => string(*quote, rest),
        _ => (Kind::Code, until(&['\n', '#', '"', '\''])),
    }
}

/// The string whose first quote is before `rest`.
fn string(quote: u8, rest: &[u8]) -> (Kind, usize) {
    let multiline = rest.starts_with(&[quote, quote]);
    let (mut at, mut quotes, mut escaped) = (if multiline { 2 } else { 0 }, 0, false);
    for byte in rest.iter().skip(at) {
        match *byte {
            // More than three at the end: the first of them are text.
            other if multiline && quotes >= 3 && other != quote => return (Kind::Multiline, at + 1),
            b'\n' if !multiline => return (Kind::Open, at + 1),
            other if other == quote && !escaped => {
                quotes += 1;
                if !multiline {
                    return (Kind::Closed, at + 2);
                }
                if quotes == 5 {
                    return (Kind::Multiline, at + 2);
                }
            }
            other => {
                escaped = quote == b'"' && other == b'\\' && !escaped;
                quotes = 0;
            }
        }
        at += 1;
    }
    (if multiline { Kind::Multiline } else { Kind::Open }, at + 1)
}

fn is_secretive(line: &[Piece<'_>]) -> bool {
    let broken = line.iter().any(|(kind, _)| *kind == Kind::Open);
    let named = line.iter().enumerate().any(|(at, (kind, text))| {
        let after = line.get(at + 1).map_or("", |(_, next)| next.trim_start());
        let is_name = *kind == Kind::Code || after.starts_with(['=', '.', ':']);
        is_name && *kind != Kind::Comment && has_word(text)
    });
    // Comments count here: without its quotes a secret may have a `#`.
    let told: String = line.iter().map(|(_, text)| *text).collect();
    broken || named || has_secret(&told)
}

fn has_word(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    SECRETIVE.iter().any(|word| text.contains(word))
}

/// A key, or an address with a password before its `@`.
fn has_secret(text: &str) -> bool {
    text.contains(api_key::PREFIX) || (text.contains("://") && text.contains('@'))
}

/// `within`: the line began within brackets.
fn mask_line(line: &[Piece<'_>], starred: bool, within: bool, out: &mut String) {
    let mut begun = within;
    for (kind, text) in line {
        match kind {
            Kind::Newline => out.push('\n'),
            Kind::Comment if starred || has_word(text) || has_secret(text) => star(text, &[], out),
            Kind::Code if starred => {
                let name = if begun { 0 } else { name_length(text) };
                let (name, rest) = text.split_at_checked(name).unwrap_or(("", text));
                out.push_str(name);
                star(rest, &['[', ']', '{', '}', ',', '=', ' ', '\t'], out);
            }
            Kind::Closed if starred && !is_reference(text) => star(text, &['"', '\''], out),
            Kind::Open | Kind::Multiline => star(text, &[], out),
            Kind::Code | Kind::Comment | Kind::Closed => out.push_str(text),
        }
        begun |= !text.trim().is_empty();
    }
}

/// Of a line's beginning, how much is a name, or the head of a table.
fn name_length(code: &str) -> usize {
    let is_head = code.trim_start().starts_with('[') && !code.contains('=');
    let name = code.trim_start().trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "_-.".contains(c));
    if code.contains(api_key::PREFIX) {
        0
    } else if is_head {
        code.len()
    } else {
        code.len() - name.len()
    }
}

fn is_reference(string: &str) -> bool {
    let inner = string.get(1..).unwrap_or_default();
    SHOWN.iter().any(|prefix| inner.starts_with(prefix)) && !inner.contains('@')
}

/// Stars for all but what is in `kept`, and the ends of lines.
fn star(text: &str, kept: &[char], out: &mut String) {
    for character in text.chars() {
        if matches!(character, '\n' | '\r') || kept.contains(&character) {
            out.push(character);
        } else {
            out.extend(std::iter::repeat_n('*', character.len_utf8()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assert_hidden(text: &str, words: &[&str]) {
        let hidden = masked(text);
        assert_eq!(hidden.len(), text.len(), "{hidden}");
        for word in words {
            assert!(!hidden.contains(word), "{word} in {hidden}");
        }
    }

    fn assert_shown(text: &str, words: &[&str]) {
        let hidden = masked(text);
        for word in words {
            assert!(hidden.contains(word), "no {word} in {hidden}");
        }
    }

    #[test]
    fn secrets_are_starred_and_lengths_kept() {
        let text = "a = \"x\"\nsecrets = [\"hunter2\", \"env:NAME\"]\nlist = \"slk_abc\"\ntoken = 'pé'\nsecrets = [\n  \"deep\",\n]\nb = \"y\"\n";
        assert_hidden(text, &["hunter2", "slk_abc", "pé", "deep"]);
        assert_shown(text, &["a = \"x\"", "b = \"y\"", "\"env:NAME\"", "secrets = ["]);
        assert_hidden("secret = \"ab'cd-TAIL\"\nsecrets = [\"x'y-TAIL\"]\n", &["TAIL"]);
        assert_hidden("url = \"http://user:pw@crm\"\ntoken = \"a\\\"b-TAIL\"\n", &["pw", "TAIL"]);
        assert_hidden("key = { file = \"a\", secret = \"TAIL\" }\n\"token\" = 'TAIL'\n", &["TAIL"]);
    }

    #[test]
    fn a_comment_opens_no_string() {
        let above = "# the CRM's credential = \"the CRM's own\n";
        let text =
            format!("{above}a = \"x\" # it's\nsecret = \"abc'TAIL\"\nsecret = 'abc\"TAIL'\nb = \"y\"\n");
        assert_hidden(&text, &["abc", "TAIL"]);
        assert_shown(&text, &["a = \"x\" # it's", "b = \"y\""]);
        assert_shown("secret = \"a # b\"\nb = \"y\"", &["b = \"y\""]);
        assert_hidden("# secret = \"TAIL\"\na = 1 # was slk_TAIL\n", &["TAIL"]);
    }

    #[test]
    fn strings_of_many_lines_are_starred_to_their_end() {
        let text = "secret = \"\"\"\nab\"c'\n''' = TAIL\\\"\"\" TAIL\"\"\"\"\nb = \"y\"\n";
        assert_hidden(text, &["TAIL"]);
        assert_shown(text, &["b = \"y\""]);
        let literal = "a = \"\"\nsecret = '''TAIL\\'\nTAIL'''''\nb = 'y'\n";
        assert_hidden(literal, &["TAIL"]);
        assert_shown(literal, &["a = \"\"", "b = 'y'"]);
        assert_hidden("a = '''x\nsecret = \"TAIL\"\nb = '''\n", &["TAIL"]);
    }

    #[test]
    fn what_is_broken_is_starred() {
        for line in [
            "secret = TAIL",
            "secret: TAIL",
            "secret TAIL",
            "secret = \"x\" TAIL",
            "a = \"x secret = \"TAIL\"",
            "secret = \"TAIL",
            "secret = 'a'TAIL'",
            "secret = \"env:A, \"TAIL\"]",
            "secrets = [\n TAIL,\n 'TAIL', [\n], 'TAIL'",
            "[[key]] secret = TAIL",
            "slk_TAIL",
            "url = http://a:b#TAIL@crm",
        ] {
            assert_hidden(&format!("{line}\nb = 1\n"), &["TAIL"]);
        }
        assert_shown("secret 'x\n[keys]\nfile = \"keys.toml\"", &["file = \"keys.toml\""]);
        assert_shown("[upstream.credential]\n", &["[upstream.credential]"]);
    }

    #[test]
    fn of_the_shipped_configuration_only_secrets_are_hidden() {
        let shipped = include_str!("../../config/sidelock.toml");
        assert_shown(shipped, &["file = \"keys.toml\"", "allow = [\"POST /api/messages\"]"]);
        let text = shipped.replace("\n#: ", "\n");
        let listed = ["file = \"keys.toml\"", "allow = [\"POST /api/messages\"]", "exempt_loopback = true"];
        assert_shown(&text, &listed);
    }

    proptest! {
        #[test]
        fn no_piece_of_a_secret_is_shown(
            secret in "[A-Z'\"#\\\\ =\\]\\[{},é\n]{0,30}",
            before in "(# [a-z'\"= ]{0,20}\n|a = \"[a-z'#]{0,9}\" # [a-z'\"]{0,9}\n|b = '[a-z\"#]{0,9}'\n|c = [\n 1,\n]\n){0,4}",
            form in 0..4,
        ) {
            let escaped = secret.replace('\\', "\\\\").replace('"', "\\\"");
            let text = match form {
                0 => format!("secret = \"{}\"", escaped.replace('\n', "\\n")),
                1 => format!("secret = '{}'", secret.replace(['\'', '\n'], "")),
                2 => format!("secret = \"\"\"{escaped}\"\"\""),
                _ => format!("secret = '''{}'''", secret.replace("''", "' ")),
            };
            let text = format!("{before}{text}\nend = \"y\"\n");
            prop_assume!(toml_edit::Document::parse(text.as_str()).is_ok());
            let hidden = masked(&text);
            prop_assert_eq!(hidden.len(), text.len());
            prop_assert!(!hidden.contains(|c: char| c.is_ascii_uppercase() || c == 'é'), "{}", hidden);
            prop_assert!(hidden.ends_with("\nend = \"y\"\n"), "{}", hidden);
        }

        #[test]
        fn any_text_keeps_its_length_and_lines(text in "[a-z\"'#=\\\\\n\r\\[\\]é ]{0,80}") {
            let hidden = masked(&text);
            prop_assert_eq!(hidden.len(), text.len());
            prop_assert_eq!(hidden.matches('\n').count(), text.matches('\n').count());
        }
    }
}
