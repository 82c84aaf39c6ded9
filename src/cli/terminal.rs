//! What is peculiar to people at a terminal: text that must not steer it, and questions.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use super::{Failure, say};

/// `text` with everything escaped that is not shown as itself: control characters, and what hides or turns around other
/// characters.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if is_odd(character) {
            out.push_str(&format!("\\u{{{:x}}}", u32::from(character)));
        } else {
            out.push(character);
        }
    }
    out
}

fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(character, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// JSON with the same characters escaped as JSON does it: it means what it meant.
pub(super) fn json_plain(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for character in json.chars() {
        if is_odd(character) {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// `text` as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@".contains(&byte);
    if !text.is_empty() && text.bytes().all(is_safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// `text` in at most `width` characters.
pub(super) fn short(text: &str, width: usize) -> String {
    match text.char_indices().nth(width) {
        None => text.to_owned(),
        Some(_) => text.chars().take(width.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// Asks, if there is someone to ask; without a terminal the answer is yes, for the command was typed by a script.
///
/// # Errors
/// The answer was not yes.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(());
    }
    say(&format!("{question} Type 'yes' to go on:"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() == "yes" { Ok(()) } else { Err(Failure::Failed("nothing was changed".to_owned())) }
}

/// A time span in its largest unit, rounded down, as `12d`.
pub(super) fn roughly(span: Duration) -> String {
    let secs = span.as_secs();
    match secs {
        0..60 => format!("{secs}s"),
        60..3_600 => format!("{}min", secs / 60),
        3_600..172_800 => format!("{}h", secs / 3_600),
        _ => format!("{}d", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_the_terminal() {
        assert_eq!(plain("Zoë \"1\""), "Zoë \"1\"");
        assert_eq!(plain("a\u{1b}[2J\u{202e}b\n"), "a\\u{1b}[2J\\u{202e}b\\u{a}");
    }

    #[test]
    fn json_stays_what_it_is() {
        let json = "{\"a\":\"\u{9b}2J\u{202e}é\u{e0001}\"}";
        let told = json_plain(json);
        assert_eq!(told, "{\"a\":\"\\u009b2J\\u202eé\\udb40\\udc01\"}");
        let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(read(&told), read(json));
        assert_eq!((short("abc", 3), short("äbcd", 3)), ("abc".to_owned(), "äb…".to_owned()));
    }

    #[test]
    fn spans_are_rounded_down() {
        for (secs, text) in [(59, "59s"), (61, "1min"), (172_799, "47h"), (172_800, "2d")] {
            assert_eq!(roughly(Duration::from_secs(secs)), text);
        }
    }
}
