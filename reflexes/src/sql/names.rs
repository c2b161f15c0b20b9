//! Quoted names, and where a double-quoted token is one.

use super::bytes::{self, Backslash, peek};
use super::keywords::Keyword;
use super::lexer::{Lexer, Previous};
use super::{Dialect, Verb};

impl Lexer<'_> {
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
    /// column for a string). It is one beside a dot and wherever nothing but a name can stand; elsewhere it must look like
    /// one and stand where columns stand. A value never stands there alone.
    fn is_name(&mut self, end: usize) -> bool {
        if self.previous == Previous::Glue || peek(self.text, bytes::space_end(self.text, end)) == b'.' {
            return true;
        }
        if self.frames.in_list() {
            return false;
        }
        if self.needs_name(end) {
            return true;
        }
        let content = self.text.get(self.at + 1..end - 1).unwrap_or_default();
        // A number in quotes is a value.
        let plain = content.first().is_some_and(|&first| bytes::begins_word(first)) && content.iter().all(|&byte| bytes::is_word(byte));
        let verb = self.verb.unwrap_or_default();
        let rows = verb.is_dml() || self.verb.is_none();
        if self.dialect == Dialect::Generic && rows && self.in_call() {
            return false;
        }
        match self.previous {
            Previous::Keyword => match self.keyword {
                Keyword::From | Keyword::Join | Keyword::Into | Keyword::Update | Keyword::Naming => true,
                Keyword::Select | Keyword::Distinct | Keyword::Where | Keyword::Set | Keyword::Not => plain && rows,
                Keyword::By if self.ends_with(b"identified by") => false,
                Keyword::Condition | Keyword::Returning | Keyword::And | Keyword::By => plain && (rows || verb == Verb::Ddl),
                _ => false,
            },
            Previous::Word | Previous::Close => plain && rows,
            Previous::Comma | Previous::Open => plain && (rows || verb == Verb::Ddl),
            _ => false,
        }
    }

    fn ends_with(&self, words: &[u8]) -> bool {
        self.output.part(self.output.len().saturating_sub(words.len()), self.output.len()) == words
    }

    /// Whether the innermost bracket holds what a function is called with: a column or a text, and where the database is not known
    /// nobody can say which.
    fn in_call(&mut self) -> bool {
        let Some(open) = self.frames.opened_at() else { return false };
        self.output.part(open.saturating_sub(1), open).first().is_some_and(|&before| bytes::is_word(before))
    }

    /// Whether only a name can stand here, whatever it looks like: before the `=` of an assignment, and among the columns
    /// of a table.
    fn needs_name(&mut self, end: usize) -> bool {
        if self.text.get(self.at..end).is_none_or(|token| token.contains(&b'\\')) {
            // Where a backslash escapes, the name would end elsewhere.
            return false;
        }
        let assigned = self.in_set && self.frames.is_outside() && peek(self.text, bytes::space_end(self.text, end)) == b'=';
        match self.previous {
            Previous::Keyword => assigned && self.keyword == Keyword::Set,
            Previous::Comma => assigned || self.among_columns(),
            Previous::Open => self.among_columns(),
            _ => false,
        }
    }

    /// Whether the innermost bracket lists columns: `insert into t(`, `create table t(`, `references t(`, `primary key(`.
    fn among_columns(&mut self) -> bool {
        /// As far as is looked back: longer names are rare.
        const NAME_MAX: usize = 256;
        let Some(open) = self.frames.opened_at() else { return false };
        let before = self.output.part(open.saturating_sub(NAME_MAX), open);
        let ends_with = |word: &[u8]| before.ends_with(word);
        match self.verb {
            Some(Verb::Insert) => is_named_after(before, &[b"into"]),
            Some(Verb::Ddl) => ends_with(b" key") || ends_with(b" unique") || is_named_after(before, &[b"table", b"exists", b"references"]),
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

/// Whether a normal form ends in one of these words and a name, qualified or not.
fn is_named_after(normal: &[u8], words: &[&[u8]]) -> bool {
    let mut rest = normal;
    loop {
        rest = match rest {
            [name @ .., b'`'] => {
                let Some(quote) = name.iter().rposition(|&byte| byte == b'`') else { return false };
                rest.get(..quote).unwrap_or_default()
            }
            _ => {
                let name = rest.iter().rev().take_while(|&&byte| bytes::is_word(byte)).count();
                if name == 0 {
                    return false;
                }
                rest.get(..rest.len() - name).unwrap_or_default()
            }
        };
        match rest {
            [before @ .., b'.'] => rest = before,
            [before @ .., b' '] => {
                let word = before.rsplit(|&byte| byte == b' ').next().unwrap_or_default();
                return words.contains(&word);
            }
            _ => return false,
        }
    }
}

/// Whether a name is a word that folding does not change; unless it is a keyword, it needs no quotes then.
fn is_bare(content: &[u8], folds: bool) -> bool {
    let Some((first, rest)) = content.split_first() else { return false };
    let fits = |byte: u8| folds || !byte.is_ascii_uppercase();
    let plain = rest.iter().all(|&byte| bytes::is_plain_word(byte) && fits(byte));
    bytes::begins_word(*first) && fits(*first) && !bytes::is_mark(content, 0) && (plain || is_exotic(rest, fits))
}

/// Whether this goes on with a word by letters that a byte order mark may begin like.
#[cold]
fn is_exotic(rest: &[u8], fits: impl Fn(u8) -> bool) -> bool {
    bytes::word_end(rest, 0) == rest.len() && rest.iter().all(|&byte| fits(byte))
}
