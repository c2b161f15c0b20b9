//! Operators, and the brackets that are not round.

use super::Dialect;
use super::bytes::{self, peek};
use super::keywords::Keyword;
use super::lexer::{Lexer, Previous};

impl Lexer<'_> {
    /// Writes the longest operator that begins here.
    pub(super) fn operator(&mut self) {
        let byte = peek(self.text, self.at);
        let (next, after) = (peek(self.text, self.at + 1), peek(self.text, self.at + 2));
        self.space();
        self.previous = Previous::Operator;
        // Two spellings of one operator are one operator.
        let (canonical, len): (&[u8], usize) = match (byte, next) {
            (b'=', b'=') => (b"=", 2),
            (b'!', b'=') => (b"<>", 2),
            (b'%', b'%') => (b"%", 2),
            _ => (&[], operator_len(byte, next, after, peek(self.text, self.at + 3))),
        };
        if canonical.is_empty() {
            match len {
                1 => self.output.byte(byte),
                _ => self.output.text(self.text.get(self.at..self.at + len).unwrap_or_default()),
            }
        } else {
            self.output.text(canonical);
        }
        self.at += len;
    }

    /// `#`: a comment in MySQL; elsewhere an operator, a temporary table or a template's placeholder.
    pub(super) fn hash(&mut self) {
        let next = peek(self.text, self.at + 1);
        if next == b'{'
            && let Some(end) = bytes::braced_end(self.text, self.at + 1)
        {
            return self.placeholder(end);
        }
        match self.dialect {
            Dialect::Mysql => self.at = bytes::line_end(self.text, self.at),
            Dialect::Postgresql | Dialect::Sqlite => self.operator(),
            Dialect::Generic => {
                let named = self.previous == Previous::Keyword
                    && matches!(self.keyword, Keyword::From | Keyword::Join | Keyword::Into | Keyword::Update | Keyword::Naming);
                if named && bytes::begins_word(next) {
                    self.space();
                    let end = bytes::word_end(self.text, self.at + 1);
                    self.output.folded(self.text.get(self.at..end).unwrap_or_default());
                    self.previous = Previous::Word;
                    self.at = end;
                } else if matches!(next, b'>' | b'-') {
                    self.operator();
                } else {
                    self.at = bytes::line_end(self.text, self.at);
                }
            }
        }
    }

    /// `[`: a quoted name in SQLite, an index or an array in PostgreSQL, elsewhere whatever the place says.
    pub(super) fn bracket(&mut self) {
        let follows_operand = !self.previous.expects_operand() && self.previous != Previous::Glue;
        let array = self.previous == Previous::Keyword && self.keyword == Keyword::Array;
        let named = match self.dialect {
            Dialect::Sqlite => true,
            Dialect::Postgresql | Dialect::Mysql => false,
            Dialect::Generic => !array && bytes::begins_word(peek(self.text, self.at + 1)) && (!follows_operand || self.after_space()),
        };
        if named {
            return self.quoted_name(b'[', b']');
        }
        if array || follows_operand {
            return self.push(b'[', array, false);
        }
        // An array without the word, or inside one.
        let list = !matches!(self.previous, Previous::Open | Previous::Comma) || self.frames.in_list();
        self.space();
        self.push(b'[', list, false);
        if self.dialect == Dialect::Generic {
            // A name that stuck to the bracket would be read as a quoted one.
            self.previous = Previous::Operator;
        }
    }

    /// `{`: a placeholder, or the escape braces of ODBC and JDBC.
    pub(super) fn brace(&mut self) {
        match bytes::braced_end(self.text, self.at) {
            Some(end) => self.placeholder(end),
            None => self.operator(),
        }
    }
}

/// How many bytes the operator that begins with these bytes has, by the longest match over the operators of
/// PostgreSQL (with its geometric, text-search, JSON and vector ones), MySQL and SQLite.
fn operator_len(a: u8, b: u8, c: u8, d: u8) -> usize {
    match (a, b, c) {
        (b'!', b'~', b'~') if d == b'*' => 4,
        (b'<', b'=', b'>')
        | (b'<', b'-', b'>')
        | (b'<', b'#', b'>')
        | (b'<', b'+', b'>')
        | (b'<', b'<', b'=' | b'|')
        | (b'>', b'>', b'=')
        | (b'-', b'>', b'>')
        | (b'#', b'>', b'>')
        | (b'!', b'~', b'~' | b'*')
        | (b'~', b'~', b'*')
        | (b'|', b'|', b'/')
        | (b'|', b'>', b'>')
        | (b'|', b'&', b'>')
        | (b'&', b'<', b'|')
        | (b'@', b'@', b'@')
        | (b'@', b'-', b'@')
        | (b'-', b'|', b'-') => 3,
        (b'<', b'=' | b'>' | b'<' | b'@' | b'^' | b'%', _)
        | (b'>', b'=' | b'>' | b'^', _)
        | (b'=', b'>', _)
        | (b'!', b'~' | b'!' | b'<' | b'>', _)
        | (b'~', b'~' | b'*' | b'=', _)
        | (b'|', b'|' | b'/', _)
        | (b'&', b'&' | b'<' | b'>', _)
        | (b'-', b'>', _)
        | (b'#', b'>' | b'-' | b'#', _)
        | (b'@', b'>' | b'@' | b'?', _)
        | (b'^', b'@', _)
        | (b'%', b'>', _)
        | (b':', b'=', _) => 2,
        _ => 1,
    }
}
