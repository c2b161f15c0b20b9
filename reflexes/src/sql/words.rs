//! Words and quoted names.

use super::bytes::{self, Backslash, peek};
use super::keywords::{Keyword, keyword, keyword_in};
use super::lexer::{Lexer, Previous};
use super::{Dialect, Shape, Verb, other};

impl Lexer<'_> {
    pub(super) fn word(&mut self) {
        let start = self.at;
        let end = bytes::word_end(self.text, start + 1);
        let next = peek(self.text, end);
        let sticks = next == b'\'' || next == b'&' || next == b'"';
        if (sticks || peek(self.text, start) == b'_') && self.prefixed_string(start, end) {
            return;
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

    /// The sixteen bytes from `start` on, unless the text ends before.
    #[inline]
    fn window(&self, start: usize) -> Option<&[u8; 16]> {
        self.text.get(start..).and_then(|rest| rest.first_chunk())
    }

    /// What the word of `len` bytes at `start` means.
    #[inline]
    fn keyword_at(&self, start: usize, len: usize) -> Keyword {
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
            Keyword::Null if !self.is_test() => return self.constant(start, end),
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
            Keyword::From => self.note(Shape::FROM),
            Keyword::Join => self.note(Shape::JOIN),
            Keyword::Where => self.note(Shape::WHERE),
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

    /// `"…"`: a string in MySQL, a name in PostgreSQL, elsewhere whatever the place says.
    pub(super) fn double_quoted(&mut self) {
        match self.dialect {
            Dialect::Mysql => self.quoted_literal(self.at, self.at + 1, b'"', Backslash::Escapes),
            Dialect::Postgresql => self.quoted_name(b'"', b'"'),
            Dialect::Sqlite | Dialect::Generic => {
                let end = bytes::quoted_end(self.text, self.at + 1, b'"', self.backslash());
                if end.closed && self.is_name(end.at) {
                    self.quoted_name(b'"', b'"');
                } else {
                    self.quoted_literal(self.at, self.at + 1, b'"', self.backslash());
                }
            }
        }
    }

    /// Whether a double-quoted token up to `end` is a name, where the dialect leaves it open (SQLite takes an unknown
    /// column for a string). It is one beside a dot and where a table is named; elsewhere it must look like one and
    /// stand where columns stand. A value never stands there alone.
    fn is_name(&mut self, end: usize) -> bool {
        if self.previous == Previous::Glue || peek(self.text, bytes::space_end(self.text, end)) == b'.' {
            return true;
        }
        if self.frames.in_list() {
            return false;
        }
        let content = self.text.get(self.at + 1..end - 1).unwrap_or_default();
        let plain = !content.is_empty() && content.iter().all(|&byte| bytes::is_word(byte));
        let verb = self.verb.unwrap_or_default();
        let rows = verb.is_dml() || self.verb.is_none();
        match self.previous {
            Previous::Keyword => match self.keyword {
                Keyword::From | Keyword::Join | Keyword::Into | Keyword::Update | Keyword::Naming => true,
                Keyword::Select | Keyword::Distinct | Keyword::Where | Keyword::Set | Keyword::Not => plain && rows,
                Keyword::Condition | Keyword::And | Keyword::By => plain && (rows || verb == Verb::Ddl),
                _ => false,
            },
            Previous::Word | Previous::Close => plain && rows,
            Previous::Comma | Previous::Open => plain && (rows || verb == Verb::Ddl),
            _ => false,
        }
    }

    /// A quoted name. One that means the same without quotes is written without.
    pub(super) fn quoted_name(&mut self, open: u8, close: u8) {
        let start = self.at + 1;
        let end = bytes::quoted_end(self.text, start, close, Backslash::Ordinary);
        if !end.closed {
            // Perhaps no name at all: hide it.
            return self.quoted_literal(self.at, start, close, Backslash::Ordinary);
        }
        let content = self.text.get(start..end.at - 1).unwrap_or_default();
        let folds = match self.dialect {
            Dialect::Mysql | Dialect::Sqlite => true,
            Dialect::Postgresql | Dialect::Generic => false,
        };
        // Without quotes the statement's first word would be its verb.
        let bare = self.begun && is_bare(content, folds);
        self.begin_without_verb();
        self.space();
        if bare && self.keyword_at(start, content.len()) == Keyword::Name {
            self.output.folded(content);
        } else {
            let mark = if self.dialect == Dialect::Postgresql && open == b'"' { b'"' } else { b'`' };
            self.output.byte(mark);
            let mut at = 0;
            while let Some(&byte) = content.get(at) {
                // Two closing marks inside stand for one, and the mark that is written is doubled in turn.
                at += if byte == close { 2 } else { 1 };
                if byte == mark {
                    self.output.byte(mark);
                }
                let shown = if byte < b' ' || byte == 0x7f { b' ' } else { byte };
                self.output.byte(if folds { shown.to_ascii_lowercase() } else { shown });
            }
            self.output.byte(mark);
        }
        self.previous = Previous::Word;
        self.at = end.at;
    }
}

/// Whether a name is a word that folding does not change; unless it is a keyword, it needs no quotes then.
fn is_bare(content: &[u8], folds: bool) -> bool {
    let Some((first, rest)) = content.split_first() else { return false };
    let fits = |byte: u8| folds || !byte.is_ascii_uppercase();
    bytes::begins_word(*first) && fits(*first) && rest.iter().all(|&byte| bytes::is_word(byte) && fits(byte))
}
