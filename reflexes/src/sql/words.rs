//! Words: what they mean, and which only begin a string.

use super::bytes::{self, Backslash, peek};
use super::keywords::{Keyword, keyword, keyword_in};
use super::lexer::{Lexer, Previous};
use super::{Dialect, Shape, Verb, other};

impl Lexer<'_> {
    pub(super) fn word(&mut self) {
        let start = self.at;
        let mut end = bytes::run(self.text, start + 1, bytes::is_plain_word);
        if bytes::is_curious(peek(self.text, start), peek(self.text, end)) {
            match self.second_look(start) {
                Some(word_end) => end = word_end,
                None => return,
            }
        }
        let len = end - start;
        let meaning = if self.previous == Previous::Glue { Keyword::Name } else { self.keyword_at(start, len) };
        if !self.begun && self.begin(start, end) {
            return;
        }
        self.at = end;
        let previous = match meaning {
            Keyword::Name => Previous::Word,
            other => match self.reserved(other, start, end) {
                Some(previous) => previous,
                None => return,
            },
        };
        self.space();
        match self.window(start).copied() {
            Some(window) if len <= 16 => self.output.folded_window(&window, len),
            _ => self.output.folded(self.text.get(start..end).unwrap_or_default()),
        }
        self.previous = previous;
        if previous == Previous::Keyword {
            self.keyword = meaning;
            if meaning == Keyword::Values {
                self.frames.expect_rows(self.output);
            }
        }
    }

    /// Reads what only looks like a word at `start`: a byte order mark, a string with a prefix. Otherwise says where the
    /// word ends.
    #[cold]
    fn second_look(&mut self, start: usize) -> Option<usize> {
        if bytes::is_mark(self.text, start) {
            self.at = start + bytes::MARK_LEN;
            return None;
        }
        let end = bytes::word_end(self.text, start + 1);
        let sticks = matches!(peek(self.text, end), b'\'' | b'&' | b'"');
        let string = (sticks || peek(self.text, start) == b'_') && self.prefixed_string(start, end);
        (!string).then_some(end)
    }

    /// The sixteen bytes from `start` on, unless the text ends before.
    #[inline]
    fn window(&self, start: usize) -> Option<&[u8; 16]> {
        self.text.get(start..).and_then(|rest| rest.first_chunk())
    }

    /// What the word of `len` bytes at `start` means.
    #[inline]
    pub(super) fn keyword_at(&self, start: usize, len: usize) -> Keyword {
        match self.window(start) {
            Some(window) => keyword_in(u128::from_le_bytes(*window), len),
            None => keyword(self.text.get(start..start + len).unwrap_or_default()),
        }
    }

    /// The statement's first word names its verb. Says whether it was a key-value command, which is then done with.
    fn begin(&mut self, start: usize, end: usize) -> bool {
        self.begun = true;
        if self.dialect == Dialect::Generic {
            let end = bytes::run(self.text, end, |byte| bytes::is_word(byte) || byte == b'.');
            let word = self.text.get(start..end).unwrap_or_default();
            if other::is_key_value(self.text, word, end) {
                self.verb = Some(Verb::KeyValue);
                self.space();
                self.output.folded(word);
                other::key_value(self.text, end, self.output, &mut self.facts);
                self.at = self.text.len();
                return true;
            }
        }
        let mut folded = [0u8; 16];
        let word = self.text.get(start..end).unwrap_or_default();
        let Some(folded) = folded.get_mut(..word.len()) else {
            self.verb = Some(Verb::Other);
            return false;
        };
        folded.copy_from_slice(word);
        folded.make_ascii_lowercase();
        if *folded == *b"asc" && !self.previous.expects_operand() {
            // It will be dropped.
            self.begun = false;
            return false;
        }
        self.data_follows = *folded == *b"copy";
        if self.dialect == Dialect::Generic && *folded == *b"set" {
            self.set_end = self.output.len() + usize::from(!self.previous.glues()) + folded.len();
        }
        self.verb = Verb::of_first_word(folded);
        false
    }

    /// What a keyword does here: the token it leaves behind, or nothing when it was dropped or replaced.
    fn reserved(&mut self, keyword: Keyword, start: usize, end: usize) -> Option<Previous> {
        let mut previous = Previous::Keyword;
        match keyword {
            Keyword::Null if !self.is_test() => {
                if self.previous == Previous::Keyword && self.keyword == Keyword::Limit && self.frames.is_outside() {
                    self.note(Shape::NULL_LIMIT);
                }
                return self.constant(start, end);
            }
            Keyword::Boolean if self.previous.expects_operand() => return self.constant(start, end),
            Keyword::Default if self.previous == Previous::Operator || self.frames.in_list() => {
                return self.constant(start, end);
            }
            Keyword::Asc if !self.previous.expects_operand() => return None,
            Keyword::Null | Keyword::Boolean | Keyword::Value | Keyword::Asc => previous = Previous::Word,
            Keyword::Select => {
                self.main_verb(Verb::Select);
                self.not_a_list();
            }
            Keyword::Values => self.not_a_list(),
            Keyword::Insert => self.main_verb(Verb::Insert),
            Keyword::Update => {
                self.main_verb(Verb::Update);
                if self.previous == Previous::Keyword && self.keyword == Keyword::For {
                    self.note(Shape::LOCKING);
                }
            }
            Keyword::Share if self.previous == Previous::Keyword => self.note(Shape::LOCKING),
            // `LOCK IN SHARE MODE`: its `IN` begins no list because no bracket follows.
            Keyword::Share | Keyword::Lock if self.previous != Previous::Keyword => previous = Previous::Word,
            Keyword::Delete => self.main_verb(Verb::Delete),
            Keyword::Merge => self.main_verb(Verb::Merge),
            Keyword::Set => self.in_set = self.verb != Some(Verb::Session),
            Keyword::From => {
                self.leave_set();
                self.note(Shape::FROM);
            }
            Keyword::Join => self.note(Shape::JOIN),
            Keyword::Where => {
                self.leave_set();
                self.note(Shape::WHERE);
            }
            Keyword::By | Keyword::Returning => self.leave_set(),
            Keyword::Uescape => {
                if self.escape_of_string(end) {
                    return None;
                }
                previous = Previous::Word;
            }
            Keyword::Limit => {
                self.note(Shape::LIMIT);
                self.in_limit = true;
            }
            Keyword::Offset => self.note(Shape::OFFSET),
            Keyword::Top => {
                let starts_rows = matches!(self.keyword, Keyword::Select | Keyword::Distinct);
                if self.previous == Previous::Keyword && starts_rows {
                    self.note(Shape::LIMIT);
                } else {
                    previous = Previous::Word;
                }
            }
            Keyword::Between => self.between = true,
            Keyword::ValueSynonym => {
                if self.is_values_synonym(end) {
                    self.space();
                    self.output.text(b"values");
                    self.frames.expect_rows(self.output);
                    self.keyword = Keyword::Values;
                    self.previous = Previous::Keyword;
                    return None;
                }
                previous = Previous::Word;
            }
            Keyword::Field => {
                let call = peek(self.text, bytes::space_end(self.text, end)) == b'(';
                if !call || self.dialect != Dialect::Mysql {
                    previous = Previous::Word;
                }
            }
            _ => {}
        }
        if keyword == Keyword::And && self.between {
            // The second bound is as much a value as the first.
            self.between = false;
            self.space();
            self.output.text(b"and");
            self.keyword = Keyword::Comparison;
            self.previous = Previous::Keyword;
            return None;
        }
        Some(previous)
    }

    /// `NULL` is part of a test, a constraint or an action rather than a value.
    fn is_test(&self) -> bool {
        match self.previous {
            Previous::Keyword => {
                matches!(self.keyword, Keyword::Is | Keyword::Not | Keyword::Set)
            }
            Previous::Operator | Previous::Open | Previous::Comma | Previous::Sign => false,
            _ => true,
        }
    }

    /// `NULL`, `TRUE`, `FALSE` and a row's `DEFAULT` stand where a parameter may stand, so they are literals.
    fn constant(&mut self, start: usize, end: usize) -> Option<Previous> {
        self.literal(start, end, Previous::Literal);
        None
    }

    fn main_verb(&mut self, verb: Verb) {
        if self.verb.is_none() && self.frames.is_outside() {
            self.verb = Some(verb);
        }
    }

    /// The assignments of an `UPDATE` are over.
    fn leave_set(&mut self) {
        if self.in_set && self.frames.is_outside() {
            self.in_set = false;
        }
    }

    /// `U&'…' UESCAPE '!'`: how the string before is written, hence part of it. Says whether it was that.
    fn escape_of_string(&mut self, end: usize) -> bool {
        let quote = bytes::space_end(self.text, end);
        let unicode = matches!(self.dialect, Dialect::Postgresql | Dialect::Generic);
        if !unicode || self.previous != Previous::String || peek(self.text, quote) != b'\'' {
            return false;
        }
        let end = bytes::quoted_end(self.text, quote + 1, b'\'', Backslash::Ordinary);
        self.facts.params.absorb(self.text.get(quote..end.at).unwrap_or_default(), false);
        self.previous = Previous::Literal;
        self.leave(end);
        true
    }

    fn not_a_list(&mut self) {
        if self.previous == Previous::Open {
            self.frames.is_subquery();
        }
    }

    /// MySQL's `INSERT INTO t VALUE (…)`.
    fn is_values_synonym(&self, end: usize) -> bool {
        matches!(self.dialect, Dialect::Mysql | Dialect::Generic)
            && self.verb == Some(Verb::Insert)
            && matches!(self.previous, Previous::Word | Previous::Close)
            && peek(self.text, bytes::space_end(self.text, end)) == b'('
    }

    /// A word that sticks to a quote may be the prefix of a string: `E'…'`, `N'…'`, `X'…'`, `U&'…'`; a character set
    /// (`_utf8mb4 '…'`) need not even stick.
    fn prefixed_string(&mut self, start: usize, mut end: usize) -> bool {
        let word = self.text.get(start..end).unwrap_or_default();
        if word.first() == Some(&b'_') {
            end = bytes::space_end(self.text, end);
            if !matches!(peek(self.text, end), b'\'' | b'"') {
                return false;
            }
        }
        let next = peek(self.text, end);
        let (quote, from) = match next {
            b'&' if peek(self.text, end + 1) == b'\'' => (b'\'', end + 2),
            b'&' => return false,
            quote => (quote, end + 1),
        };
        if quote == b'"' && self.dialect != Dialect::Mysql && word.first() != Some(&b'_') {
            return false;
        }
        let backslash = match word {
            [b'u' | b'U'] if next == b'&' => Backslash::Ordinary,
            _ if next == b'&' => return false,
            [b'e' | b'E'] if matches!(self.dialect, Dialect::Postgresql | Dialect::Generic) => Backslash::Escapes,
            [b'n' | b'N' | b'b' | b'B' | b'x' | b'X' | b'r' | b'R'] => self.backslash(),
            [b'_', ..] if matches!(self.dialect, Dialect::Mysql | Dialect::Generic) => self.backslash(),
            _ => return false,
        };
        self.quoted_literal(start, from, quote, backslash);
        true
    }
}
