//! One element's text out of an XML body, strictly. It is no XML parser: it knows where tags begin and end, and refuses what
//! could hide one.

/// The text of the only element whose name, without its prefix, is `name`; `None` if there is none, another one, or doubt.
pub(super) fn only_text<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let text = std::str::from_utf8(body).ok()?;
    // Comments, CDATA and entity declarations could hold or hide a tag; senders of SOAP write none (SOAP 1.1 section 3).
    if text.contains("<!") {
        return None;
    }
    let mut found = None;
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('<') {
        let (tag, content) = after.split_once('>')?;
        rest = content;
        // A bracket within a quoted value would end the tag too early for us, or hide one.
        let quotes = |quote| tag.matches(quote).count();
        if tag.contains('<') || !quotes('"').is_multiple_of(2) || !quotes('\'').is_multiple_of(2) {
            return None;
        }
        let given = tag.split(|it: char| it.is_ascii_whitespace() || it == '/').next().unwrap_or_default();
        if local(given) != name {
            continue;
        }
        let (value, closing) = content.split_once('<')?;
        let closing = closing.strip_prefix('/')?.split_once('>')?.0.trim_end();
        if found.is_some() || closing != given || tag.ends_with('/') {
            return None;
        }
        found = Some(value);
    }
    found
}

fn local(name: &str) -> &str {
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_one() {
        let text = |body: &'static str| only_text(body.as_bytes(), "Org");
        assert_eq!(text("<?xml version='1.0'?><a><Org>00D</Org></a>"), Some("00D"));
        assert_eq!(text("<a><x:Org b='c'>00D</x:Org ></a>"), Some("00D"));
        for bad in [
            "",
            "<a/>",
            "<Org/>",
            "<Org>1</Org><Org>1</Org>",
            "<Org>1</Org><x:Org>2</x:Org>",
            "<Org>1<b/></Org>",
            "<Org>1</Orgx>",
            "<Org>1",
            "<a><!-- <Org>1</Org> --></a>",
            "<!DOCTYPE a><Org>1</Org>",
            "<a b='<Org>1</Org>'/><Org>1</Org>",
            "<a b='>'/><Org>1</Org>",
        ] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }
}
