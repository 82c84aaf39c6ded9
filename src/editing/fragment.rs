//! One `[[key]]` block, edited with comments and order kept.

use toml_edit::{Array, DocumentMut, Item, Table, Value};

use super::comments::layout;
use super::{EditError, Field, Setting};

/// The block with `fields` set. Its line breaks stay what they are, and so does every comment: one that loses its line
/// gets one of its own at the end of the block.
pub(super) fn edit(block: &str, fields: &[Field]) -> Result<String, EditError> {
    let crlf = block.contains("\r\n");
    let mut text = if crlf { block.replace("\r\n", "\n") } else { block.to_owned() };
    let open_end = !text.ends_with('\n');
    if open_end {
        text.push('\n');
    }
    let mut document = parse(&text)?;
    // The one who writes back must be able to write back what is there.
    if document.to_string() != text {
        return Err(EditError::Form);
    }
    let table = table_of(&mut document)?;
    for field in fields {
        set(table, field)?;
    }
    let mut out = with_all_comments(&text, document.to_string());
    if open_end && out.ends_with('\n') {
        out.pop();
    }
    Ok(if crlf { out.replace('\n', "\r\n") } else { out })
}

/// The fields of a block as TOML text, in order; digests cut short, but for a certificate's: whoever sees it can look it up.
pub(super) fn fields(block: &str) -> Result<Vec<(String, String)>, EditError> {
    let mut document = parse(block)?;
    let table = table_of(&mut document)?;
    let shown = |name: &str, text: String| if name == "client_cert" { text } else { shortened(&text) };
    let fields = table.iter().map(|(name, item)| (name.to_owned(), shown(name, bare_item(item))));
    Ok(fields.collect())
}

fn bare_item(item: &Item) -> String {
    match item {
        Item::None => String::new(),
        Item::Value(value) => bare(value),
        Item::Table(table) => bare_table(table.iter()),
        Item::ArrayOfTables(tables) => {
            let tables: Vec<String> = tables.iter().map(|table| bare_table(table.iter())).collect();
            format!("[{}]", tables.join(", "))
        }
    }
}

/// A value on one line, without the comments and spaces around it and within it.
fn bare(value: &Value) -> String {
    match value {
        Value::Array(array) => {
            let items: Vec<String> = array.iter().map(bare).collect();
            format!("[{}]", items.join(", "))
        }
        Value::InlineTable(table) => {
            let entries: Vec<String> =
                table.iter().map(|(name, value)| format!("{name} = {}", bare(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::String(_) | Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            value.clone().decorated("", "").to_string()
        }
    }
}

fn bare_table<'t>(entries: impl Iterator<Item = (&'t str, &'t Item)>) -> String {
    let entries: Vec<String> = entries.map(|(name, item)| format!("{name} = {}", bare_item(item))).collect();
    format!("{{ {} }}", entries.join(", "))
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError::Toml(error.message().to_owned()))
}

fn table_of(document: &mut DocumentMut) -> Result<&mut Table, EditError> {
    let blocks = document.get_mut("key").and_then(Item::as_array_of_tables_mut);
    blocks.and_then(|blocks| blocks.get_mut(0)).ok_or(EditError::Form)
}

fn set(table: &mut Table, Field { name, setting }: &Field) -> Result<(), EditError> {
    if let Setting::Absent = setting {
        table.remove(name);
        return Ok(());
    }
    if let (Setting::List(wanted), Some(Item::Value(Value::Array(array)))) = (setting, table.get_mut(name)) {
        let same = array.iter().map(Value::as_str).eq(wanted.iter().map(|text| Some(text.as_str())));
        let over_lines = array.to_string().contains('\n');
        if over_lines {
            reconcile(array, wanted);
        }
        if same || over_lines {
            return Ok(());
        }
    }
    let mut new: Value = setting.toml().parse().map_err(|_| EditError::Form)?;
    if let Some(Item::Value(old)) = table.get_mut(name) {
        *new.decor_mut() = old.decor().clone();
        *old = new;
    } else {
        // It may be there as a table of its own.
        table.remove(name);
        table.insert(name, Item::Value(new));
    }
    Ok(())
}

/// Takes out what is not wanted and adds what is missing: a list over several lines, which can hold comments, otherwise
/// stays as it was written.
fn reconcile(array: &mut Array, wanted: &[String]) {
    array.retain(|item| item.as_str().is_some_and(|text| wanted.iter().any(|it| it == text)));
    for text in wanted {
        if !array.iter().any(|item| item.as_str() == Some(text)) {
            array.push(text.as_str());
        }
    }
}

fn with_all_comments(before: &str, mut after: String) -> String {
    let kept = layout(&after);
    let mut left: Vec<&str> = kept.comments.iter().filter_map(|at| after.get(at.clone())).collect();
    let mut lost = String::new();
    for comment in layout(before).comments.into_iter().filter_map(|at| before.get(at)) {
        match left.iter().position(|it| *it == comment) {
            Some(at) => drop(left.swap_remove(at)),
            None => {
                lost.push_str(comment);
                lost.push('\n');
            }
        }
    }
    after.insert_str(kept.body_end, &lost);
    after
}

/// `text` with each `sha256:…` cut to its first 12 digits.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 12;
    let mut parts = text.split("sha256:");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
        let (shown, rest) = (part.get(..digits.min(SHOWN)), part.get(digits..));
        out.push_str("sha256:");
        out.push_str(shown.unwrap_or_default());
        out.push_str(if digits > SHOWN { "…" } else { "" });
        out.push_str(rest.unwrap_or_default());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "[[key]] # first\n  id = \"a\"   # the id\n# why these\nscopes = [\n  \"x\", # one\n  \"y\", # two\n]\nprevious = { digest = \"sha256:0123456789abcdef\" } # until Friday\n\n# the next block's\n";

    fn field(name: &'static str, setting: Setting) -> Field {
        Field { name, setting }
    }

    #[test]
    fn values_change_and_the_rest_stays() {
        let edited = edit(BLOCK, &[field("id", Setting::Text("b".to_owned()))]).unwrap();
        assert_eq!(edited, BLOCK.replace("\"a\"", "\"b\""));
        let edited = edit(BLOCK, &[field("revoked", Setting::Truth(true))]).unwrap();
        assert_eq!(edited, BLOCK.replace("Friday\n", "Friday\nrevoked = true\n"));
        assert_eq!(edit(BLOCK, &[field("nothing", Setting::Absent)]).unwrap(), BLOCK);
    }

    #[test]
    fn comments_outlive_their_lines() {
        let less = [field("previous", Setting::Absent), field("scopes", Setting::List(vec!["z".to_owned()]))];
        let edited = edit(BLOCK, &less).unwrap();
        for comment in
            ["# first", "# the id", "# why these", "# one", "# two", "# until Friday", "# the next block's"]
        {
            assert_eq!(edited.matches(comment).count(), 1, "{comment} in\n{edited}");
        }
        assert!(edited.contains("\"z\"") && !edited.contains("previous") && !edited.contains("\"x\""));
        assert!(edited.ends_with("\n\n# the next block's\n"), "{edited}");
    }

    #[test]
    fn line_breaks_stay() {
        let block = BLOCK.replace('\n', "\r\n");
        let edited = edit(&block, &[field("id", Setting::Text("b".to_owned()))]).unwrap();
        assert_eq!(edited, block.replace("\"a\"", "\"b\""));
        let open = BLOCK.trim_end();
        assert_eq!(edit(open, &[field("x", Setting::Absent)]).unwrap(), open);
    }

    #[test]
    fn digests_are_cut_short() {
        assert_eq!(shortened("\"sha256:0123456789abcdef\", 1"), "\"sha256:0123456789ab…\", 1");
        assert_eq!(fields(BLOCK).unwrap()[2].1, "{ digest = \"sha256:0123456789ab…\" }");
        assert_eq!(fields(BLOCK).unwrap()[1].1, "[\"x\", \"y\"]");
    }
}
