//! A key file's text as `[[key]]` blocks. An edit touches the blocks that it names; every other byte is copied.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::comments::layout;
use super::{EditError, Field, fragment};

/// Where the blocks are.
#[derive(Debug)]
pub(super) struct Blocks<'t> {
    text: &'t str,
    /// Byte offsets of the `[[key]]` headers, in order.
    starts: Vec<usize>,
}

/// What becomes of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// These fields are set, the rest stays.
    Set(Vec<Field>),
    /// It goes; its comments stay, for they are not the command's.
    Remove,
}

impl<'t> Blocks<'t> {
    /// Finds the blocks; keys that are not written as blocks are for a text editor.
    pub(super) fn find(text: &'t str) -> Result<Self, EditError> {
        let table = DeTable::parse(text).map_err(|error| EditError::Toml(error.message().to_owned()))?;
        let starts = match table.get_ref().get("key").map(|value| value.get_ref()) {
            None => Vec::new(),
            Some(DeValue::Array(items)) => items.iter().map(|item| item.span().start).collect(),
            Some(_) => return Err(EditError::Form),
        };
        let is_header = |at: &usize| text.get(*at..).is_some_and(|rest| rest.starts_with("[["));
        if starts.iter().all(is_header) { Ok(Self { text, starts }) } else { Err(EditError::Form) }
    }

    /// The text of a block, up to the next one's header.
    pub(super) fn text(&self, at: usize) -> &'t str {
        self.text.get(self.span(at)).unwrap_or_default()
    }

    fn span(&self, at: usize) -> Range<usize> {
        let start = self.starts.get(at).copied().unwrap_or(self.text.len());
        start..self.starts.get(at + 1).copied().unwrap_or(self.text.len())
    }

    /// The whole text with blocks edited, by position, and `added` at its end.
    pub(super) fn rewrite(
        &self,
        edits: &BTreeMap<usize, Edit>,
        added: &[String],
    ) -> Result<String, EditError> {
        let mut out = String::with_capacity(self.text.len() + added.iter().map(String::len).sum::<usize>());
        let mut copied = 0;
        for (at, edit) in edits {
            let span = self.span(*at);
            out.push_str(self.text.get(copied..span.start).unwrap_or_default());
            match edit {
                Edit::Set(fields) => out.push_str(&fragment::edit(self.text(*at), fields)?),
                Edit::Remove => remove(self.text(*at), &mut out),
            }
            copied = span.end;
        }
        out.push_str(self.text.get(copied..).unwrap_or_default());
        let crlf = self.text.contains("\r\n");
        for block in added {
            if !out.is_empty() && !out.ends_with('\n') {
                out.push_str(if crlf { "\r\n" } else { "\n" });
            }
            out.push_str(&if crlf { block.replace('\n', "\r\n") } else { block.clone() });
        }
        Ok(out)
    }
}

/// What is left of a removed block: its comments, and what stands before the next header.
fn remove(block: &str, out: &mut String) {
    let layout = layout(block);
    let (body, tail) = block.split_at_checked(layout.body_end).unwrap_or((block, ""));
    let mut kept = layout.comments.into_iter().filter(|at| at.start < body.len()).peekable();
    let line_break = if block.contains("\r\n") { "\r\n" } else { "\n" };
    // The empty line above the block was the block's own.
    let gap = format!("{line_break}{line_break}");
    if kept.peek().is_none() && out.ends_with(&gap) && (tail.is_empty() || tail.starts_with(line_break)) {
        out.truncate(out.len() - line_break.len());
    }
    for comment in kept.filter_map(|at| block.get(at)) {
        out.push_str(comment);
        out.push_str(line_break);
    }
    out.push_str(tail);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "# top\n\n[[key]]\nid = \"a\" # A\n\n# b's\n[[key]]\nid = \"b\"\n\n[[key]]\nid = \"c\"\n";

    #[test]
    fn blocks_go_and_comments_stay() {
        let blocks = Blocks::find(FILE).unwrap();
        let without =
            |ats: &[usize]| blocks.rewrite(&ats.iter().map(|at| (*at, Edit::Remove)).collect(), &[]).unwrap();
        assert_eq!(without(&[0]), FILE.replace("[[key]]\nid = \"a\" # A\n", "# A\n"));
        assert_eq!(without(&[2]), FILE.replace("\n[[key]]\nid = \"c\"\n", ""));
        assert_eq!(without(&[0, 1, 2]), "# top\n\n# A\n\n# b's\n");
        assert_eq!(without(&[]), FILE);
    }

    #[test]
    fn additions_go_to_the_end() {
        let blocks = Blocks::find("confirm_drop_to = 1 # x").unwrap();
        let added = blocks.rewrite(&BTreeMap::new(), &["\n[[key]]\nid = 1\n".to_owned()]).unwrap();
        assert_eq!(added, "confirm_drop_to = 1 # x\n\n[[key]]\nid = 1\n");
    }

    #[test]
    fn other_forms_are_left_to_people() {
        for text in ["key = [{ id = \"a\" }]", "key = 1", "[key]\nid = 1"] {
            assert!(matches!(Blocks::find(text), Err(EditError::Form)), "{text}");
        }
    }
}
