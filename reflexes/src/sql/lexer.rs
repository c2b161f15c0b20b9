//! The pass over a statement: one byte decides which token begins, the token is read to its end and written in its
//! normal form at once. No token list, no second look.
//!
//! The lexer knows the grammar only as far as the token before the present one tells it (`Previous`): enough to know
//! whether a sign belongs to a number, whether `?` is an operator, and where a space goes.

use super::Dialect;
use super::bytes::{self, Class, peek};
use super::frames::Frames;
use super::keywords::Keyword;
use super::normaliser::Facts;
use super::output::Output;
use super::params::Params;
use super::{Shape, Verb, other};

/// The token that was written last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Previous {
    Start,
    /// A reserved word, after which an expression or a name begins.
    Keyword,
    /// A name, a function, a star: an expression may end here.
    Word,
    /// A number or a placeholder.
    Literal,
    /// A string, with which an adjacent string may merge.
    String,
    Open,
    Close,
    Comma,
    Operator,
    /// A sign in front of an operand; `sign` says where it began.
    Sign,
    /// A dot or `::`: what follows is glued to it.
    Glue,
    Semicolon,
}

impl Previous {
    const fn is_in(self, set: u32) -> bool {
        set >> self as u8 & 1 != 0
    }

    /// Whether an operand is expected now.
    #[inline]
    pub(super) const fn expects_operand(self) -> bool {
        const SET: u32 = 1 << Previous::Start as u8
            | 1 << Previous::Keyword as u8
            | 1 << Previous::Open as u8
            | 1 << Previous::Comma as u8
            | 1 << Previous::Operator as u8
            | 1 << Previous::Sign as u8
            | 1 << Previous::Semicolon as u8;
        self.is_in(SET)
    }

    /// Whether the next token is written without a space before it.
    #[inline]
    pub(super) const fn glues(self) -> bool {
        const SET: u32 = 1 << Previous::Start as u8 | 1 << Previous::Open as u8 | 1 << Previous::Glue as u8;
        self.is_in(SET)
    }
}

/// Where a prefix sign began, and what stood before it.
#[derive(Clone, Copy)]
pub(super) struct Sign {
    pub(super) at: usize,
    pub(super) before: Previous,
    pub(super) negative: bool,
}

/// One pass over one statement.
pub(super) struct Lexer<'s> {
    pub(super) text: &'s [u8],
    pub(super) at: usize,
    pub(super) output: &'s mut Output,
    pub(super) frames: &'s mut Frames,
    pub(super) dialect: Dialect,
    pub(super) previous: Previous,
    /// The last keyword; means something while `previous` is [`Previous::Keyword`].
    pub(super) keyword: Keyword,
    pub(super) sign: Sign,
    /// `BETWEEN` waits for its `AND`.
    pub(super) between: bool,
    /// A `LIMIT` is being read at this depth, so that a comma means an offset.
    pub(super) in_limit: bool,
    /// The assignments of an `UPDATE` are being read.
    pub(super) in_set: bool,
    /// Within `/*! … */`.
    pub(super) in_code_comment: bool,
    /// Lists behind `IN` that are not seen to hold one literal, an open one among them.
    pub(super) unclear_lists: u32,
    /// `COPY`: what follows the semicolon is data.
    pub(super) data_follows: bool,
    /// Where the first statement ends in the output, with its semicolon; 0 before that.
    first_end: usize,
    /// Where `SET`, the first word, ends in the output; 0 without it.
    pub(super) set_end: usize,
    pub(super) verb: Option<Verb>,
    /// The first word was seen.
    pub(super) begun: bool,
    pub(super) facts: Facts,
}

impl<'s> Lexer<'s> {
    pub(super) fn new(text: &'s [u8], dialect: Dialect, key: u64, output: &'s mut Output, frames: &'s mut Frames) -> Self {
        Self {
            text,
            at: 0,
            output,
            frames,
            dialect,
            previous: Previous::Start,
            keyword: Keyword::Name,
            sign: Sign { at: 0, before: Previous::Start, negative: false },
            between: false,
            in_limit: false,
            in_set: false,
            in_code_comment: false,
            unclear_lists: 0,
            data_follows: false,
            first_end: 0,
            set_end: 0,
            verb: None,
            begun: false,
            facts: Facts { params: Params::new(key), verb: Verb::Other, shape: Shape::default() },
        }
    }

    pub(super) fn run(mut self) -> Facts {
        while let Some(&byte) = self.text.get(self.at) {
            match bytes::CLASS[byte as usize] {
                Class::Space => self.at += 1,
                Class::Word => self.word(),
                Class::Digit => self.number(),
                Class::Quote => self.string(),
                Class::DoubleQuote => self.double_quoted(),
                Class::Backtick => self.quoted_name(b'`', b'`'),
                Class::Dollar => self.dollar(),
                Class::Open => self.open(),
                Class::Close => self.close(),
                Class::BracketOpen => self.bracket(),
                Class::BracketClose => self.close_with(b']'),
                Class::BraceOpen => self.brace(),
                Class::Comma => self.comma(),
                Class::Dot => self.dot(),
                Class::Semicolon => self.semicolon(),
                Class::Colon => self.colon(),
                Class::At => self.at_sign(),
                Class::Percent => self.percent(),
                Class::Hash => self.hash(),
                Class::Question => self.question(),
                Class::Minus => self.minus(),
                Class::Plus => self.sign_or_operator(b'+'),
                Class::Slash => self.slash(),
                Class::Star => self.star(),
                Class::BraceClose | Class::Operator => self.operator(),
            }
        }
        self.finish()
    }

    fn finish(mut self) -> Facts {
        if self.frames.end_item(self.output) {
            self.note(Shape::COLLAPSED);
        }
        while self.output.last() == b';' {
            self.output.truncate(self.output.len() - 1);
        }
        if self.first_end > 0 && self.output.len() > self.first_end {
            self.note(Shape::SEVERAL);
        }
        if self.set_end > 0 && other::is_key_value_set(self.output.part(0, self.output.len()), self.set_end) {
            // Comments or quotes hid from the first look that this is no SQL.
            self.output.truncate(self.set_end);
            self.output.text(b" ?");
            self.verb = Some(Verb::KeyValue);
            self.note(Shape::NOT_SQL);
        }
        let shape = self.facts.shape;
        // A placeholder may be what a sender made of a whole list.
        if shape.has_in_list() && self.unclear_lists == 0 && !shape.has_placeholders() {
            self.note(Shape::SINGLE_KEYS);
        }
        self.facts.verb = self.verb.unwrap_or_default();
        self.facts
    }

    #[inline]
    pub(super) fn note(&mut self, flag: Shape) {
        self.facts.shape.insert(flag);
    }

    /// A statement that begins with no word has no verb.
    #[inline]
    pub(super) fn begin_without_verb(&mut self) {
        if !self.begun {
            self.begun = true;
            self.verb = Some(Verb::Other);
        }
    }

    /// Writes the space before a token that is no bracket and no separator.
    #[inline]
    pub(super) fn space(&mut self) {
        if !self.previous.glues() {
            self.output.byte(b' ');
        }
    }

    /// Whether white space stands directly before the present byte.
    pub(super) fn after_space(&self) -> bool {
        self.at.checked_sub(1).is_none_or(|before| bytes::is_space(peek(self.text, before)))
    }

    /// Moves to the end of a token that may never have ended.
    pub(super) fn leave(&mut self, end: bytes::End) {
        self.at = end.at;
        if !end.closed {
            self.note(Shape::UNTERMINATED);
        }
    }

    fn open(&mut self) {
        let next_row = self.previous == Previous::Comma && self.frames.is_next_row(self.output);
        let (mut list, mut row, mut keys) = (false, next_row, false);
        match self.previous {
            Previous::Keyword => {
                match self.keyword {
                    Keyword::In => {
                        (list, keys) = (true, true);
                        self.note(Shape::IN_LIST);
                    }
                    Keyword::Values => row = true,
                    Keyword::Field => list = true,
                    _ => {}
                }
                // `FIELD` is a function, the others are not.
                if self.keyword != Keyword::Field {
                    self.output.byte(b' ');
                }
            }
            Previous::Open => list = self.frames.in_list(),
            Previous::Comma => {
                list = self.frames.in_list();
                self.output.byte(b' ');
            }
            Previous::Start | Previous::Word | Previous::Glue => {}
            _ => self.output.byte(b' '),
        }
        if next_row {
            self.note(Shape::ROWS);
        }
        self.push(b'(', list || row, row);
        if keys {
            self.frames.expect_keys();
            self.unclear_lists = self.unclear_lists.saturating_add(1);
        }
    }

    pub(super) fn push(&mut self, bracket: u8, list: bool, row: bool) {
        let open = self.output.len();
        self.output.byte(bracket);
        self.frames.open(list, row, open, open + 1);
        self.previous = Previous::Open;
        self.at += 1;
    }

    fn close(&mut self) {
        self.close_with(b')');
    }

    pub(super) fn close_with(&mut self, bracket: u8) {
        if self.frames.in_single_key() && matches!(self.previous, Previous::Literal | Previous::String) {
            self.unclear_lists = self.unclear_lists.saturating_sub(1);
        }
        let item = self.frames.end_item(self.output);
        self.output.byte(bracket);
        let row = self.frames.close(self.output);
        if item || row {
            self.note(Shape::COLLAPSED);
        }
        self.previous = Previous::Close;
        self.in_limit = false;
        self.at += 1;
    }

    fn comma(&mut self) {
        if self.frames.end_item(self.output) {
            self.note(Shape::COLLAPSED);
        }
        if self.in_limit && self.previous == Previous::Literal {
            self.note(Shape::OFFSET);
        }
        self.in_limit = false;
        self.output.byte(b',');
        self.frames.begin_item(self.output);
        self.previous = Previous::Comma;
        self.at += 1;
    }

    fn semicolon(&mut self) {
        self.at += 1;
        if matches!(self.previous, Previous::Start | Previous::Semicolon) {
            return;
        }
        if self.data_follows {
            self.at = self.text.len();
            return;
        }
        if self.frames.end_item(self.output) {
            self.note(Shape::COLLAPSED);
        }
        self.frames.clear();
        self.output.byte(b';');
        if self.first_end == 0 {
            self.first_end = self.output.len();
        }
        self.previous = Previous::Semicolon;
        self.between = false;
        self.in_limit = false;
        self.in_set = false;
    }

    fn dot(&mut self) {
        let next = peek(self.text, self.at + 1);
        if next.is_ascii_digit() && !matches!(self.previous, Previous::Word | Previous::Close | Previous::Glue) {
            return self.number();
        }
        let glues = match self.previous {
            Previous::Word | Previous::Close | Previous::Glue => true,
            // A keyword that sticks to a further name is a name (`user.id`), unless that is the prefix of a string.
            Previous::Keyword => {
                let end = bytes::word_end(self.text, self.at + 1);
                next.is_ascii_alphabetic() && !b"'\"&".contains(&peek(self.text, end))
            }
            _ => false,
        };
        if !glues {
            return self.operator();
        }
        self.output.byte(b'.');
        self.previous = Previous::Glue;
        self.at += 1;
    }

    fn slash(&mut self) {
        if peek(self.text, self.at + 1) != b'*' {
            return self.operator();
        }
        let (next, after) = (peek(self.text, self.at + 2), peek(self.text, self.at + 3));
        let code = next == b'!' || (matches!(next, b'M' | b'm') && after == b'!');
        if code && matches!(self.dialect, Dialect::Mysql | Dialect::Generic) {
            // MySQL and MariaDB run what stands in such a comment, from the stated version on.
            let version = self.at + if next == b'!' { 3 } else { 4 };
            self.at = bytes::run(self.text, version, |byte| byte.is_ascii_digit());
            self.in_code_comment = true;
            return;
        }
        let nests = matches!(self.dialect, Dialect::Postgresql | Dialect::Generic);
        self.leave(bytes::block_end(self.text, self.at, nests));
    }

    fn star(&mut self) {
        if self.in_code_comment && peek(self.text, self.at + 1) == b'/' {
            self.in_code_comment = false;
            self.at += 2;
            return;
        }
        match self.previous {
            // All columns, or all rows: an expression of its own.
            Previous::Keyword | Previous::Open | Previous::Comma | Previous::Glue | Previous::Start => {
                self.space();
                self.output.byte(b'*');
                self.previous = Previous::Word;
                self.at += 1;
            }
            _ => self.operator(),
        }
    }

    fn minus(&mut self) {
        if peek(self.text, self.at + 1) == b'-' && self.begins_line_comment() {
            self.at = bytes::line_end(self.text, self.at);
            return;
        }
        match peek(self.text, self.at + 1) {
            b'>' => self.operator(),
            b'|' if peek(self.text, self.at + 2) == b'-' => self.operator(),
            _ => self.sign_or_operator(b'-'),
        }
    }

    /// `--` begins a comment; in MySQL only before white space. A word after it is nevertheless taken for a comment
    /// unless the dashes stick to an operand on the left (`a--b`): people write comments so, and few subtract so.
    fn begins_line_comment(&self) -> bool {
        if self.dialect != Dialect::Mysql {
            return true;
        }
        let next = peek(self.text, self.at + 2);
        bytes::is_space(next) || (self.after_space() && bytes::begins_word(next)) || next == b'-'
    }

    /// A sign before an operand is remembered, so that a literal can take it in; between operands it is an operator.
    fn sign_or_operator(&mut self, byte: u8) {
        if self.previous.expects_operand() {
            let first = self.previous != Previous::Sign;
            self.sign = Sign {
                at: if first { self.output.len() } else { self.sign.at },
                before: if first { self.previous } else { self.sign.before },
                negative: (!first && self.sign.negative) != (byte == b'-'),
            };
            self.space();
            self.previous = Previous::Sign;
        } else {
            self.space();
            self.previous = Previous::Operator;
        }
        self.output.byte(byte);
        self.at += 1;
    }
}
