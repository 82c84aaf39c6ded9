//! The shape of a path: what stands for a record is `{id}`, so that calls of one kind are counted together.

/// The path with `{id}` in place of segments that look like the number or the name of one record: digits alone, or at least
/// eight letters and digits of which some are digits, with `-` and `_` between them.
pub fn shape(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').map(|it| if is_id(it) { "{id}" } else { it }).collect();
    segments.join("/")
}

fn is_id(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    let fits = segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    // `v1` and `oauth2` are words; `5f0c11d2a9` is none.
    digits > 0 && (digits == segment.len() || (fits && segment.len() >= 8 && digits * 4 >= segment.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_one_shape() {
        for (path, expect) in [
            ("/api/v1/tickets/4711/notes", "/api/v1/tickets/{id}/notes"),
            ("/crm/0b2f1c94-6a1e-4d0b-9f3e-1f2a3b4c5d6e", "/crm/{id}"),
            ("/oauth2/token", "/oauth2/token"),
            ("/api/messages/", "/api/messages/"),
            ("/a/conversations_v2/7", "/a/conversations_v2/{id}"),
            ("/a/2026-11-22", "/a/{id}"),
            ("/", "/"),
        ] {
            assert_eq!(shape(path), expect, "{path}");
        }
    }
}
