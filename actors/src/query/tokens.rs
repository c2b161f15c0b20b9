//! The tokens of a normal form. It has no literals, comments or case any more, so that words, names and symbols are all there is.

/// Words with their qualifiers and quotes (`"public"."Review"."id"`, `o.id`), comparisons (`>=`, `<>`), and single symbols.
pub(super) fn tokens(normal: &str) -> Tokens<'_> {
    Tokens { rest: normal }
}

/// Walks over the tokens of a normal form.
pub(super) struct Tokens<'a> {
    rest: &'a str,
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.' | b'@' | b'#') || byte >= 0x80
}

/// The end of a quoted name that begins at `at`; a doubled quote belongs to it.
fn quoted(bytes: &[u8], at: usize) -> usize {
    let close = bytes[at];
    let mut end = at + 1;
    while end < bytes.len() {
        if bytes[end] == close {
            if bytes.get(end + 1) != Some(&close) {
                return end + 1;
            }
            end += 1;
        }
        end += 1;
    }
    bytes.len()
}

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest.trim_start();
        let bytes = rest.as_bytes();
        let first = *bytes.first()?;
        let mut end = 0;
        if is_word(first) || matches!(first, b'"' | b'`') {
            while let Some(&byte) = bytes.get(end) {
                match byte {
                    b'"' | b'`' => end = quoted(bytes, end),
                    byte if is_word(byte) => end += 1,
                    _ => break,
                }
            }
        } else {
            end = 1;
            while matches!(first, b'<' | b'>' | b'=' | b'!') && matches!(bytes.get(end), Some(b'<' | b'>' | b'=')) {
                end += 1;
            }
        }
        // Every boundary above lies after an ASCII byte or at the end of a run of others, hence on a character.
        let (token, after) = rest.split_at_checked(end)?;
        self.rest = after;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_qualified_name_is_one_token() {
        let all: Vec<&str> = tokens(r#"select "a""b"."c d", t.x from `t` where x>=? and (a,b)>(?)"#).collect();
        assert_eq!(
            all,
            [
                "select",
                r#""a""b"."c d""#,
                ",",
                "t.x",
                "from",
                "`t`",
                "where",
                "x",
                ">=",
                "?",
                "and",
                "(",
                "a",
                ",",
                "b",
                ")",
                ">",
                "(",
                "?",
                ")"
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_has_an_end(text in "\\PC*") {
            let joined: String = tokens(&text).collect();
            let plain: String = text.split_whitespace().collect();
            prop_assert!(joined.split_whitespace().collect::<String>() == plain);
        }
    }
}
