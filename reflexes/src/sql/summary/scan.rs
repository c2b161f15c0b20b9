//! Tokens for the summary: where they are, not what they are worth.

use crate::sql::Dialect;
use crate::sql::bytes::{self, Backslash, Class, peek};

/// A token and where it begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// An unquoted word.
    Word(usize, usize),
    /// A quoted name.
    Quoted(usize, usize),
    /// A string, which names a table in a few dialects.
    String(usize, usize),
    Open,
    /// `[` of an array or an index.
    OpenSquare,
    Close,
    Comma,
    Semicolon,
    Dot,
    /// Operators, numbers, placeholders: all the same here.
    Other,
}

/// Reads tokens one after the other; comments and white space are passed over.
#[derive(Clone, Copy)]
pub(super) struct Scan<'s> {
    pub(super) text: &'s [u8],
    pub(super) dialect: Dialect,
    at: usize,
}

impl<'s> Scan<'s> {
    pub(super) const fn new(text: &'s [u8], dialect: Dialect) -> Self {
        Self { text, dialect, at: 0 }
    }

    /// The next token without taking it.
    pub(super) fn peek(&self) -> Option<Token> {
        let mut ahead = *self;
        ahead.next()
    }

    fn skip(&mut self) {
        loop {
            self.at = bytes::space_end(self.text, self.at);
            let (byte, next) = (peek(self.text, self.at), peek(self.text, self.at + 1));
            let after = peek(self.text, self.at + 2);
            let mysql = self.dialect == Dialect::Mysql;
            if byte == b'-' && next == b'-' && (!mysql || !after.is_ascii_digit()) || byte == b'#' && mysql {
                self.at = bytes::line_end(self.text, self.at);
            } else if byte == b'/' && next == b'*' {
                let nests = matches!(self.dialect, Dialect::Postgresql | Dialect::Generic);
                self.at = bytes::block_end(self.text, self.at, nests).at;
            } else {
                return;
            }
        }
    }

    fn backslash(&self) -> Backslash {
        match self.dialect {
            Dialect::Mysql => Backslash::Escapes,
            Dialect::Generic => Backslash::Unknown,
            Dialect::Postgresql | Dialect::Sqlite => Backslash::Ordinary,
        }
    }

    /// Is what stands in square brackets one name? A list of values is none.
    fn is_bracketed_name(&self) -> bool {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let stop = rest.iter().find(|byte| matches!(byte, b']' | b',' | b'\'' | b'"' | b'[' | b'(' | b'\n'));
        stop == Some(&b']')
    }

    /// A quoted token from here on; one that never ends is nothing that may be shown.
    fn quoted(&mut self, close: u8, backslash: Backslash, token: fn(usize, usize) -> Token) -> Token {
        let start = self.at;
        let end = bytes::quoted_end(self.text, start + 1, close, backslash);
        self.at = end.at;
        if end.closed { token(start, end.at) } else { Token::Other }
    }
}

impl Iterator for Scan<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip();
        let start = self.at;
        let byte = *self.text.get(start)?;
        self.at += 1;
        Some(match bytes::CLASS[byte as usize] {
            Class::Word => {
                self.at = bytes::word_end(self.text, start);
                if peek(self.text, self.at) == b'\'' && self.at - start == 1 {
                    let escapes = byte | 0x20 == b'e' && self.dialect != Dialect::Mysql;
                    let backslash = if escapes { Backslash::Escapes } else { self.backslash() };
                    self.quoted(b'\'', backslash, |_, _| Token::Other)
                } else {
                    Token::Word(start, self.at)
                }
            }
            Class::Digit => {
                self.at = bytes::word_end(self.text, bytes::number_end(self.text, start));
                Token::Other
            }
            Class::Quote => {
                self.at = start;
                self.quoted(b'\'', self.backslash(), Token::String)
            }
            Class::DoubleQuote => {
                self.at = start;
                self.quoted(b'"', Backslash::Ordinary, Token::Quoted)
            }
            Class::Backtick => {
                self.at = start;
                self.quoted(b'`', Backslash::Ordinary, Token::Quoted)
            }
            Class::BracketOpen
                if bytes::begins_word(peek(self.text, start + 1))
                    && !bytes::is_word(peek(self.text, start.wrapping_sub(1)))
                    && matches!(self.dialect, Dialect::Generic | Dialect::Sqlite)
                    && self.is_bracketed_name() =>
            {
                self.at = start;
                self.quoted(b']', Backslash::Ordinary, Token::Quoted)
            }
            Class::Dollar => {
                let dollar = match self.dialect {
                    Dialect::Postgresql | Dialect::Generic => bytes::dollar_end(self.text, start),
                    Dialect::Mysql | Dialect::Sqlite => None,
                };
                self.at = dollar.map_or_else(|| bytes::word_end(self.text, start), |end| end.at);
                Token::Other
            }
            Class::Colon | Class::At => {
                // A parameter's name is no word.
                self.at = bytes::word_end(self.text, self.at);
                Token::Other
            }
            Class::Hash if self.dialect == Dialect::Generic && bytes::begins_word(peek(self.text, start + 1)) => {
                self.at = bytes::word_end(self.text, start + 1);
                Token::Word(start, self.at)
            }
            // The commas inside of either are no commas of the statement.
            Class::Open => Token::Open,
            Class::BracketOpen => Token::OpenSquare,
            Class::Close | Class::BracketClose => Token::Close,
            Class::Comma => Token::Comma,
            Class::Semicolon => Token::Semicolon,
            Class::Dot => Token::Dot,
            _ => Token::Other,
        })
    }
}

/// A dotted name without the quotes of its parts.
pub(super) fn unquoted(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    let mut close = None;
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match close {
            None => match c {
                '"' | '`' | '\'' => close = Some(c),
                '[' => close = Some(']'),
                c => plain.push(c),
            },
            Some(end) if c == end => {
                if chars.next_if_eq(&end).is_some() {
                    plain.push(end);
                } else {
                    close = None;
                }
            }
            Some(_) => plain.push(c),
        }
    }
    plain
}
