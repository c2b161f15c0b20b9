//! Byte classes and the ends of tokens. Everything here looks at bytes and never at meaning, never fails, and takes
//! the end of the text for the end of whatever is open.

/// What a byte can begin.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Class {
    Space,
    Word,
    Digit,
    Quote,
    DoubleQuote,
    Backtick,
    Dollar,
    Open,
    Close,
    BracketOpen,
    BracketClose,
    BraceOpen,
    BraceClose,
    Comma,
    Dot,
    Semicolon,
    Colon,
    At,
    Percent,
    Hash,
    Question,
    Minus,
    Plus,
    Slash,
    Star,
    Operator,
}

const fn classify(byte: u8) -> Class {
    match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'_' | 0x80.. => Class::Word,
        b'0'..=b'9' => Class::Digit,
        b'\'' => Class::Quote,
        b'"' => Class::DoubleQuote,
        b'`' => Class::Backtick,
        b'$' => Class::Dollar,
        b'(' => Class::Open,
        b')' => Class::Close,
        b'[' => Class::BracketOpen,
        b']' => Class::BracketClose,
        b'{' => Class::BraceOpen,
        b'}' => Class::BraceClose,
        b',' => Class::Comma,
        b'.' => Class::Dot,
        b';' => Class::Semicolon,
        b':' => Class::Colon,
        b'@' => Class::At,
        b'%' => Class::Percent,
        b'#' => Class::Hash,
        b'?' => Class::Question,
        b'-' => Class::Minus,
        b'+' => Class::Plus,
        b'/' => Class::Slash,
        b'*' => Class::Star,
        0..=b' ' | 0x7f => Class::Space,
        _ => Class::Operator,
    }
}

/// The class of every byte.
pub(super) static CLASS: [Class; 256] = {
    let mut table = [Class::Space; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = classify(byte as u8);
        byte += 1;
    }
    table
};

/// Whether a byte goes on with a word: letters, digits, `_`, `$` and everything beyond ASCII.
static IN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = matches!(classify(byte as u8), Class::Word | Class::Digit | Class::Dollar);
        byte += 1;
    }
    table
};

#[inline]
pub(super) fn is_word(byte: u8) -> bool {
    IN_WORD[byte as usize]
}

#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    CLASS[byte as usize] == Class::Space
}

/// Whether a byte can begin a name.
#[inline]
pub(super) fn begins_word(byte: u8) -> bool {
    CLASS[byte as usize] == Class::Word
}

/// The byte at `at`, or NUL (which is space everywhere) after the end.
#[inline]
pub(super) fn peek(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

/// Where the run of bytes that satisfy `wanted` ends.
#[inline]
pub(super) fn run(text: &[u8], mut at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    while let Some(&byte) = text.get(at) {
        if !wanted(byte) {
            break;
        }
        at += 1;
    }
    at
}

/// The first byte of a byte order mark, and of many letters.
const MARK: u8 = 0xef;

/// What sets a byte apart at the beginning of a word ([`FIRST`]) or behind its end ([`NEXT`]).
static CURIOUS: [u8; 256] = {
    let mut table = [0u8; 256];
    table[b'_' as usize] = FIRST;
    table[b'\'' as usize] = NEXT;
    table[b'"' as usize] = NEXT;
    table[b'&' as usize] = NEXT;
    table[MARK as usize] = FIRST | NEXT;
    table
};
const FIRST: u8 = 1;
const NEXT: u8 = 2;

/// Whether a word that begins with `first`, up to a byte that goes on with no plain word, wants a second look: it may be
/// the prefix of a string, or hold a byte order mark.
#[inline]
pub(super) fn is_curious(first: u8, next: u8) -> bool {
    CURIOUS[first as usize] & FIRST | CURIOUS[next as usize] & NEXT != 0
}

/// Whether a byte order mark stands at `at`. Between tokens it is white space: editors and files put together leave it
/// there.
#[inline]
pub(super) fn is_mark(text: &[u8], at: usize) -> bool {
    peek(text, at) == MARK && peek(text, at + 1) == 0xbb && peek(text, at + 2) == 0xbf
}

/// The length of a byte order mark in bytes.
pub(super) const MARK_LEN: usize = 3;

/// As [`is_word`], but for what may be a byte order mark.
#[inline]
pub(super) fn is_plain_word(byte: u8) -> bool {
    IN_PLAIN_WORD[byte as usize]
}

static IN_PLAIN_WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = IN_WORD[byte] && byte != MARK as usize;
        byte += 1;
    }
    table
};

/// Where a word ends, at the latest before a byte order mark.
#[inline]
pub(super) fn word_end(text: &[u8], mut at: usize) -> usize {
    loop {
        at = run(text, at, is_plain_word);
        if peek(text, at) != MARK || is_mark(text, at) {
            return at;
        }
        at += 1;
    }
}

/// Where white space ends.
#[inline]
pub(super) fn space_end(text: &[u8], mut at: usize) -> usize {
    loop {
        at = run(text, at, is_space);
        if !is_mark(text, at) {
            return at;
        }
        at += MARK_LEN;
    }
}

/// Where a line comment ends: at its line feed.
pub(super) fn line_end(text: &[u8], at: usize) -> usize {
    run(text, at, |byte| byte != b'\n')
}

/// Where a token ends, and whether its closing mark was there.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) at: usize,
    pub(super) closed: bool,
}

/// What a backslash means inside a string.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslash {
    /// Nothing.
    Ordinary,
    /// The next byte is part of the string.
    Escapes,
    /// Nobody knows. Where the two readings part, the string reaches to the end of the statement if the text does
    /// not tell which one holds: what hides too much is safe, what hides too little is not.
    Unknown,
}

/// The end of a quoted token whose opening `quote` is just before `at`; a doubled quote is part of it.
pub(super) fn quoted_end(text: &[u8], mut at: usize, quote: u8, backslash: Backslash) -> End {
    while let Some(&byte) = text.get(at) {
        if byte == quote {
            if peek(text, at + 1) == quote {
                at += 2;
                continue;
            }
            return End { at: at + 1, closed: true };
        }
        if byte == b'\\' && backslash != Backslash::Ordinary {
            if backslash == Backslash::Unknown {
                let slashes = run(text, at, |byte| byte == b'\\');
                if (slashes - at) % 2 == 1 && peek(text, slashes) == quote && !begins_word(peek(text, slashes + 1)) {
                    return End { at: text.len(), closed: false };
                }
                // An even number is a whole number of escapes and also ends nowhere else.
                at = if (slashes - at) % 2 == 1 { slashes + 1 } else { slashes };
                continue;
            }
            at += 2;
            continue;
        }
        at += 1;
    }
    End { at: text.len(), closed: false }
}

/// The end of a block comment whose `/*` begins at `at`.
pub(super) fn block_end(text: &[u8], at: usize, nests: bool) -> End {
    let mut depth = 1u32;
    let mut at = at + 2;
    while let Some(&byte) = text.get(at) {
        let next = peek(text, at + 1);
        if byte == b'*' && next == b'/' {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return End { at, closed: true };
            }
        } else if nests && byte == b'/' && next == b'*' {
            depth = depth.saturating_add(1);
            at += 2;
        } else {
            at += 1;
        }
    }
    End { at: text.len(), closed: false }
}

/// The end of a dollar-quoted string that begins at `at`, or `None` when no dollar quote begins there. The tag is
/// empty or a name without a dollar sign.
pub(super) fn dollar_end(text: &[u8], at: usize) -> Option<End> {
    let tag_end = run(text, at + 1, |byte| byte != b'$' && is_word(byte));
    if peek(text, tag_end) != b'$' || peek(text, at + 1).is_ascii_digit() {
        return None;
    }
    let tag = text.get(at..=tag_end)?;
    let mut from = tag_end + 1;
    loop {
        let dollar = run(text, from, |byte| byte != b'$');
        match text.get(dollar..) {
            Some(rest) if rest.starts_with(tag) => return Some(End { at: dollar + tag.len(), closed: true }),
            Some([_, ..]) => from = dollar + 1,
            _ => return Some(End { at: text.len(), closed: false }),
        }
    }
}

/// The end of a number that begins at `at` with a digit or with a dot and a digit: decimal, hexadecimal, octal and
/// binary, with underscores, fraction and exponent. A prefix or an
/// exponent without digits is part of it, too: the statement may have been cut.
pub(super) fn number_end(text: &[u8], at: usize) -> usize {
    let digit_or_line = |byte: u8| byte.is_ascii_digit() || byte == b'_';
    if peek(text, at) == b'0' && matches!(peek(text, at + 1) | 0x20, b'x' | b'o' | b'b') {
        let digits = run(text, at + 2, |byte| byte.is_ascii_hexdigit() || byte == b'_');
        if digits > at + 2 || !is_word(peek(text, digits)) {
            return digits;
        }
    }
    let mut end = run(text, at, digit_or_line);
    if peek(text, end) == b'.' && peek(text, end + 1) != b'.' {
        end = run(text, end + 1, digit_or_line);
    }
    if peek(text, end) | 0x20 == b'e' {
        let sign = usize::from(matches!(peek(text, end + 1), b'+' | b'-'));
        let digits = run(text, end + 1 + sign, digit_or_line);
        if digits > end + 1 + sign {
            end = digits;
        } else if !is_word(peek(text, end + 1)) {
            end += 1;
        }
    }
    end.min(text.len())
}

/// The end of a placeholder in braces, `{name}` or `{name:Type}`, whose brace is at `at`; `None` when it is none.
pub(super) fn braced_end(text: &[u8], at: usize) -> Option<usize> {
    let name = run(text, at + 1, |byte| is_word(byte) || byte == b'.');
    let mut end = name;
    if name > at + 1 && matches!(peek(text, name), b':' | b',') {
        end = run(text, name + 1, |byte| is_word(byte) || b"(),.= ".contains(&byte));
    }
    match peek(text, end) {
        b'}' => Some(end + 1),
        _ => None,
    }
}
