//! Paths by their shape: `/api/tickets/4711/notes/9` is `/api/tickets/{id}/notes/{id}`, and touches the record `4711/9`.

/// Most segments of a shape; what follows is `…`.
const MOST_SEGMENTS: usize = 16;
/// Longest segment that is a word.
const LONGEST_WORD: usize = 40;

/// The shape of a path, and the ids in it joined by slashes; none if it has no id.
pub fn of(path: &str) -> (String, Option<String>) {
    let (mut shape, mut ids) = (String::with_capacity(path.len()), String::new());
    for (number, segment) in path.split('/').enumerate().skip(1) {
        shape.push('/');
        if number > MOST_SEGMENTS {
            shape.push('…');
            break;
        }
        // `4711.json` is an id too; `ada@example.com` is one as a whole.
        let ending = segment.rsplit_once('.').filter(|(name, ending)| {
            (1..=5).contains(&ending.len())
                && ending.bytes().all(|it| it.is_ascii_lowercase())
                && !name.contains(['@', '%'])
        });
        let (name, extension) = ending.map_or((segment, None), |(name, ending)| (name, Some(ending)));
        if is_id(name) {
            shape.push_str("{id}");
            if let Some(extension) = extension {
                shape.push('.');
                shape.push_str(extension);
            }
            if !ids.is_empty() {
                ids.push('/');
            }
            ids.extend(name.chars().take(LONGEST_ID));
        } else {
            shape.push_str(segment);
        }
    }
    if !path.starts_with('/') {
        // `[hidden]`, or `*`.
        shape = path.chars().take(LONGEST_WORD).collect();
    }
    (shape, (!ids.is_empty()).then_some(ids))
}

/// Longest id that is kept whole.
const LONGEST_ID: usize = 80;

/// Numbers; UUIDs, digests, random names and dates: eight characters or more with two digits among them; addresses of mail;
/// whatever is too long or too odd to be a word.
fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let is_number = digits > 0 && digits == segment.len();
    let is_random = segment.len() >= 8 && digits >= 2;
    let is_odd = segment.contains('@') || segment.contains('%');
    is_number || is_random || is_odd || segment.len() > LONGEST_WORD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_words() {
        for (path, shape, ids) in [
            (
                "/api/v1/accounts/1/conversations/42/messages",
                "/api/v1/accounts/{id}/conversations/{id}/messages",
                "1/42",
            ),
            ("/api/v4/tickets", "/api/v4/tickets", ""),
            ("/Contact/5fbe6a3e0d8e4bb50", "/Contact/{id}", "5fbe6a3e0d8e4bb50"),
            ("/r/6f9619ff-8b86-d011-b42d-00c04fc964ff/", "/r/{id}/", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
            ("/tickets/17.json", "/tickets/{id}.json", "17"),
            ("/people/ada%40example.com", "/people/{id}", "ada%40example.com"),
            ("/oauth2/health.txt", "/oauth2/health.txt", ""),
            ("/", "/", ""),
            ("[hidden]", "[hidden]", ""),
            ("", "", ""),
        ] {
            assert_eq!(
                of(path),
                (shape.to_owned(), Some(ids.to_owned()).filter(|it| !it.is_empty())),
                "{path}"
            );
        }
        let long = format!("/{}", "a/".repeat(5_000));
        assert!(of(&long).0.len() < 64);
        let (shape, ids) = of(&format!("/{}", "a".repeat(5_000)));
        assert_eq!((shape.as_str(), ids.unwrap().len()), ("/{id}", LONGEST_ID));
    }
}
