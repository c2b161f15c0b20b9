//! Literals and placeholders: what becomes `?`.

use super::bytes::{self, Backslash, peek};
use super::lexer::{Lexer, Previous};
use super::{Dialect, Shape};

impl Lexer<'_> {
    /// What a backslash means in a plain string of this dialect.
    #[inline]
    pub(super) fn backslash(&self) -> Backslash {
        match self.dialect {
            Dialect::Mysql => Backslash::Escapes,
            Dialect::Postgresql | Dialect::Sqlite => Backslash::Ordinary,
            Dialect::Generic => Backslash::Unknown,
        }
    }

    /// Writes `?` for an operand; a sign in front of it belongs to it. Says whether the sign was a minus.
    #[inline]
    fn operand(&mut self, previous: Previous) -> bool {
        let mut negative = false;
        if self.previous == Previous::Sign {
            self.output.truncate(self.sign.at);
            self.previous = self.sign.before;
            negative = self.sign.negative;
        }
        self.space();
        self.output.byte(b'?');
        self.previous = previous;
        negative
    }

    /// Replaces the literal from `start` to `end`; the place is moved by the caller.
    #[inline]
    pub(super) fn literal(&mut self, start: usize, end: usize, previous: Previous) {
        self.begin_without_verb();
        let negative = self.operand(previous);
        self.note(Shape::LITERALS);
        self.facts.params.absorb(self.text.get(start..end).unwrap_or_default(), negative);
    }

    /// Replaces a placeholder that ends at `end`.
    #[inline]
    pub(super) fn placeholder(&mut self, end: usize) {
        self.begin_without_verb();
        self.operand(Previous::Literal);
        self.note(Shape::PLACEHOLDERS);
        self.at = end;
    }

    /// A string whose token begins at `start` and whose content begins at `from`.
    pub(super) fn quoted_literal(&mut self, start: usize, from: usize, quote: u8, backslash: Backslash) {
        let end = bytes::quoted_end(self.text, from, quote, backslash);
        self.finish_string(start, end);
    }

    /// A plain string.
    pub(super) fn string(&mut self) {
        let backslash = self.backslash();
        self.quoted_literal(self.at, self.at + 1, b'\'', backslash);
    }

    fn finish_string(&mut self, start: usize, end: bytes::End) {
        if self.previous == Previous::String && self.continues() {
            // Adjacent strings are one string.
            self.facts.params.absorb(self.text.get(start..end.at).unwrap_or_default(), false);
        } else {
            self.literal(start, end.at, Previous::String);
        }
        self.leave(end);
    }

    /// Whether a string after a string goes on with it: in MySQL always, in PostgreSQL only on a new line.
    fn continues(&self) -> bool {
        match self.dialect {
            Dialect::Mysql | Dialect::Generic => true,
            Dialect::Sqlite => false,
            Dialect::Postgresql => {
                let before = self.text.get(..self.at).unwrap_or_default();
                before.iter().rev().take_while(|byte| bytes::is_space(**byte)).any(|byte| *byte == b'\n')
            }
        }
    }

    pub(super) fn number(&mut self) {
        let start = self.at;
        let end = bytes::number_end(self.text, start);
        let rest = bytes::word_end(self.text, end);
        let whole = self.text.get(start..end).unwrap_or_default();
        let glued = self.previous == Previous::Glue;
        if self.dialect == Dialect::Mysql && (glued || (rest > end && !is_radix(whole) && whole.iter().all(|byte| bytes::is_word(*byte)))) {
            // MySQL's names may begin with digits.
            let end = bytes::word_end(self.text, start);
            self.begin_without_verb();
            self.space();
            self.output.folded(self.text.get(start..end).unwrap_or_default());
            self.previous = Previous::Word;
            self.at = end;
            return;
        }
        // What sticks to a number is no name in the other dialects, so it is not shown.
        self.literal(start, rest, Previous::Literal);
        self.at = rest;
    }

    /// `$1`, `$name`, `${name}` and `$tag$…$tag$`.
    pub(super) fn dollar(&mut self) {
        let start = self.at;
        let next = peek(self.text, start + 1);
        if next == b'{'
            && let Some(end) = bytes::braced_end(self.text, start + 1)
        {
            return self.placeholder(end);
        }
        if matches!(self.dialect, Dialect::Postgresql | Dialect::Generic)
            && let Some(end) = bytes::dollar_end(self.text, start)
        {
            return self.finish_string(start, end);
        }
        if self.dialect == Dialect::Mysql && !next.is_ascii_digit() {
            return self.word();
        }
        self.placeholder(bytes::word_end(self.text, start + 1));
    }

    /// `?` and `?1`; PostgreSQL's `?|` and `?&` after an operand.
    pub(super) fn question(&mut self) {
        let next = peek(self.text, self.at + 1);
        let after = peek(self.text, self.at + 2);
        let knows_json = matches!(self.dialect, Dialect::Postgresql | Dialect::Generic);
        if knows_json && !self.previous.expects_operand() && matches!(next, b'|' | b'&') && after != next {
            self.space();
            self.output.byte(b'?');
            self.output.byte(next);
            self.previous = Previous::Operator;
            self.at += 2;
            return;
        }
        self.placeholder(bytes::run(self.text, self.at + 1, |byte| byte.is_ascii_digit()));
    }

    /// `:name` and `:1` where an operand may stand, `::type`, `:=`, and the colon of a slice.
    pub(super) fn colon(&mut self) {
        let next = peek(self.text, self.at + 1);
        if next == b':' {
            return self.cast();
        }
        let named = bytes::begins_word(next) || next.is_ascii_digit();
        let stands = self.previous.expects_operand() || (self.after_space() && bytes::begins_word(next));
        if named && stands && self.previous != Previous::Glue {
            return self.placeholder(bytes::word_end(self.text, self.at + 1));
        }
        self.operator();
    }

    /// A cast is dropped after a literal, where drivers add it or leave it out as they like, and kept elsewhere.
    fn cast(&mut self) {
        self.at += 2;
        if matches!(self.previous, Previous::Literal | Previous::String) {
            self.at = type_end(self.text, self.at);
            self.previous = Previous::Literal;
            return;
        }
        if !matches!(self.previous, Previous::Word | Previous::Close) {
            self.space();
        }
        self.output.text(b"::");
        self.previous = Previous::Glue;
    }

    /// Variables and parameters: `@name`, `@@setting`, or an operator.
    pub(super) fn at_sign(&mut self) {
        let next = peek(self.text, self.at + 1);
        let named = bytes::begins_word(next) || next.is_ascii_digit();
        let setting = next == b'@' && bytes::begins_word(peek(self.text, self.at + 2));
        if setting && self.dialect != Dialect::Postgresql && self.previous.expects_operand() {
            return self.variable(2);
        }
        if !named || !self.previous.expects_operand() {
            return self.operator();
        }
        let end = bytes::word_end(self.text, self.at + 1);
        let name = self.text.get(self.at + 1..end).unwrap_or_default();
        if self.dialect == Dialect::Mysql && !is_numbered(name) {
            return self.variable(1);
        }
        self.placeholder(end);
    }

    /// A session variable is a name, not a value.
    fn variable(&mut self, marks: usize) {
        let end = bytes::word_end(self.text, self.at + marks);
        self.begin_without_verb();
        self.space();
        self.output.folded(self.text.get(self.at..end).unwrap_or_default());
        self.previous = Previous::Word;
        self.at = end;
    }

    /// `%s` and `%(name)s` where an operand may stand, otherwise the remainder operator.
    pub(super) fn percent(&mut self) {
        let stands = self.previous.expects_operand() || self.after_space();
        let next = peek(self.text, self.at + 1);
        let letter =
            |at: usize| matches!(peek(self.text, at), b's' | b'b' | b't' | b'd' | b'i' | b'f') && !bytes::is_word(peek(self.text, at + 1));
        if stands && letter(self.at + 1) {
            return self.placeholder(self.at + 2);
        }
        if next == b'(' && stands {
            let name = bytes::run(self.text, self.at + 2, |byte| bytes::is_word(byte) || b".-:".contains(&byte));
            if name > self.at + 2 && peek(self.text, name) == b')' && letter(name + 1) {
                return self.placeholder(name + 2);
            }
        }
        self.operator();
    }
}

/// `0x…`, `0b…`, `0o…`.
fn is_radix(number: &[u8]) -> bool {
    matches!(number, [b'0', b'x' | b'X' | b'b' | b'B' | b'o' | b'O', ..])
}

/// Whether a variable is a parameter that a driver numbered: `@1`, `@p0`, `@__id_0`.
fn is_numbered(name: &[u8]) -> bool {
    let stem = name.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |at| at + 1);
    stem < name.len() && matches!(name.get(..stem), Some(b"" | b"p" | b"P" | b"param" | b"_" | [b'_', b'_', .., b'_']))
}

/// The end of the type name that begins at `at`: `uuid`, `pg_catalog."char"`, `character varying(20)`,
/// `timestamp(3) with time zone`, `int[][]`.
fn type_end(text: &[u8], at: usize) -> usize {
    let mut start = bytes::space_end(text, at);
    let mut end = name_end(text, start);
    while peek(text, end) == b'.' {
        let next = name_end(text, end + 1);
        if next == end + 1 {
            break;
        }
        start = end + 1;
        end = next;
    }
    let last = text.get(start..end).unwrap_or_default();
    let is = |word: &[u8], names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    let mut followers: &[&str] = &[];
    if is(last, &["double"]) {
        followers = &["precision"];
    } else if is(last, &["character", "char", "bit", "national"]) {
        followers = &["varying", "character", "char"];
    } else if is(last, &["timestamp", "time"]) {
        followers = &["with", "without", "time", "zone"];
    }
    loop {
        let next = bytes::space_end(text, end);
        match peek(text, next) {
            b'(' => {
                let inside = bytes::run(text, next + 1, |byte| byte.is_ascii_digit() || b" ,?-".contains(&byte));
                if peek(text, inside) != b')' {
                    return if inside == text.len() { inside } else { end };
                }
                end = inside + 1;
            }
            b'[' => {
                let inside = bytes::run(text, next + 1, |byte| byte.is_ascii_digit() || byte == b'?');
                if peek(text, inside) != b']' {
                    return if inside == text.len() { inside } else { end };
                }
                end = inside + 1;
            }
            _ => {
                let word = bytes::word_end(text, next);
                if word == next || !is(text.get(next..word).unwrap_or_default(), followers) {
                    return end;
                }
                end = word;
            }
        }
    }
}

/// The end of a name, quoted or not, at `at`.
fn name_end(text: &[u8], at: usize) -> usize {
    if peek(text, at) == b'"' { bytes::quoted_end(text, at + 1, b'"', Backslash::Ordinary).at } else { bytes::word_end(text, at) }
}
