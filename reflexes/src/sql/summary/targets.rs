//! Finds a statement's operations and targets by the words around them.

use super::scan::{Scan, Token};
use crate::sql::Dialect;

/// What a piece of the summary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Operation,
    Table,
    /// An index, a routine, a sequence, or a name that `WITH` defines.
    Other,
}

/// One piece of the summary, as it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'s> {
    pub(super) text: &'s str,
    pub(super) kind: Kind,
}

/// More pieces than fit into a summary.
const PIECES_MAX: usize = 128;
/// Tables beyond this many are not told; see [`super::tables`].
const TABLES_MAX: usize = 64;
const DEPTH_MAX: usize = 64;

/// What the next name is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Nothing,
    Table,
    Other,
}

#[derive(Clone, Copy, Default)]
struct Frame {
    /// A statement stands here, so that its `FROM` names tables (that of `EXTRACT(… FROM …)` does not).
    reads: bool,
    /// Tables are being listed, so that a comma is followed by one more.
    lists: bool,
    /// A condition was begun since: what is quoted in a way that a literal may be is none of the tables any more.
    condition: bool,
}

struct Reader<'s> {
    statement: &'s str,
    pieces: Vec<Piece<'s>>,
    tables: usize,
    frames: Vec<Frame>,
    beyond: usize,
    frame: Frame,
    wanted: Wanted,
    /// Nothing of the present statement was read.
    start: bool,
    /// After `UNION` and its like: the `SELECT` goes on with the one before.
    continues: bool,
    /// `ON` names a table: `CREATE INDEX`, `CREATE TRIGGER`.
    on_names: bool,
    /// `USING` names a table: `DELETE`, `MERGE`.
    using_names: bool,
    /// `COPY`: what follows the semicolon is data.
    data_follows: bool,
    /// After `WITH`, at its depth.
    defines: bool,
    defined: Vec<&'s str>,
}

/// The operations and targets of a statement.
pub(super) fn pieces(statement: &str, dialect: Dialect) -> Vec<Piece<'_>> {
    if let Some(pieces) = foreign(statement, dialect) {
        return pieces;
    }
    let mut reader = Reader {
        statement,
        pieces: Vec::new(),
        tables: 0,
        frames: Vec::new(),
        beyond: 0,
        frame: Frame::default(),
        wanted: Wanted::Nothing,
        start: true,
        continues: false,
        on_names: false,
        using_names: false,
        data_follows: false,
        defines: false,
        defined: Vec::new(),
    };
    reader.read(Scan::new(statement.as_bytes(), dialect));
    for piece in &mut reader.pieces {
        if piece.kind == Kind::Table && reader.defined.iter().any(|name| name.eq_ignore_ascii_case(piece.text)) {
            piece.kind = Kind::Other;
        }
    }
    reader.pieces
}

impl<'s> Reader<'s> {
    fn read(&mut self, mut scan: Scan<'_>) {
        let mut before = String::new();
        while let Some(token) = scan.next() {
            if self.pieces.len() >= PIECES_MAX {
                return;
            }
            match token {
                Token::Word(start, end) => {
                    let word = fold(self.statement.get(start..end).unwrap_or_default());
                    self.word(&word, start, end, &before, &mut scan);
                    before = word;
                    continue;
                }
                Token::Quoted(start, end) if self.is_name(start, scan.dialect) => self.name(start, end, &mut scan),
                // Only where `SELECT` lists its tables may a string be a name.
                Token::String(start, end) if self.frame.lists && self.frame.reads && !self.frame.condition => {
                    self.name(start, end, &mut scan);
                }
                // `FROM (a JOIN b)` lists tables in brackets; any other bracket begins anew.
                Token::Open => self.open(self.wanted == Wanted::Table && self.frame.lists),
                Token::OpenSquare => self.open(false),
                Token::Close => self.close(),
                Token::Comma if self.frame.lists => self.wanted = Wanted::Table,
                Token::Semicolon => {
                    if self.data_follows {
                        return;
                    }
                    self.frames.clear();
                    self.beyond = 0;
                    self.frame = Frame::default();
                    self.wanted = Wanted::Nothing;
                    self.start = true;
                    self.continues = false;
                    self.on_names = false;
                    self.using_names = false;
                    self.defines = false;
                }
                Token::Dot => {
                    // What follows a dot is part of a name, whatever it looks like.
                    if matches!(scan.peek(), Some(Token::Word(..) | Token::Quoted(..))) {
                        scan.next();
                    }
                }
                Token::Comma | Token::Other | Token::Quoted(..) | Token::String(..) => self.wanted = Wanted::Nothing,
            }
            before.clear();
        }
    }

    /// May what is quoted be a name here? `"…"` is a string to MySQL, and perhaps to a database that nobody has named.
    fn is_name(&self, start: usize, dialect: Dialect) -> bool {
        let marks = self.statement.as_bytes().get(start) == Some(&b'"');
        let ambiguous = marks && matches!(dialect, Dialect::Mysql | Dialect::Generic);
        !ambiguous || self.wanted == Wanted::Table && !self.frame.condition
    }

    fn open(&mut self, joins: bool) {
        if self.frames.len() >= DEPTH_MAX {
            self.beyond += 1;
            return;
        }
        self.frames.push(self.frame);
        self.frame = Frame { reads: joins, lists: joins, condition: false };
        if !joins {
            self.wanted = Wanted::Nothing;
        }
    }

    fn close(&mut self) {
        self.wanted = Wanted::Nothing;
        if self.beyond > 0 {
            self.beyond -= 1;
        } else if let Some(frame) = self.frames.pop() {
            self.frame = frame;
        }
    }

    fn push(&mut self, start: usize, end: usize, kind: Kind) {
        if kind == Kind::Table {
            self.tables += 1;
            if self.tables > TABLES_MAX {
                return;
            }
        }
        if let Some(text) = self.statement.get(start..end) {
            self.pieces.push(Piece { text, kind });
        }
    }

    /// A name, with its further parts: taken if one is wanted.
    fn name(&mut self, start: usize, mut end: usize, scan: &mut Scan<'_>) {
        while scan.peek() == Some(Token::Dot) {
            scan.next();
            match scan.peek() {
                Some(Token::Word(_, to) | Token::Quoted(_, to)) => {
                    end = to;
                    scan.next();
                }
                _ => break,
            }
        }
        match self.wanted {
            Wanted::Nothing => return,
            // A function that is read like a table is none.
            Wanted::Table if self.frame.lists && scan.peek() == Some(Token::Open) => {
                self.push(start, end, Kind::Other);
            }
            Wanted::Table => self.push(start, end, Kind::Table),
            Wanted::Other => self.push(start, end, Kind::Other),
        }
        self.wanted = Wanted::Nothing;
    }

    fn word(&mut self, word: &str, start: usize, end: usize, before: &str, scan: &mut Scan<'_>) {
        if self.start {
            return self.first(word, start, end, scan);
        }
        let called = scan.peek() == Some(Token::Open);
        match word {
            "select" => {
                if !std::mem::take(&mut self.continues) {
                    self.push(start, end, Kind::Operation);
                }
                self.frame = Frame { reads: true, ..Frame::default() };
                self.wanted = Wanted::Nothing;
            }
            "insert" | "update" | "delete" | "merge" | "replace" if !called && !is_clause(before) => {
                self.operation(word, start, end);
            }
            "from" if self.frame.reads && before != "distinct" => {
                self.frame = Frame { lists: true, condition: false, ..self.frame };
                self.wanted = Wanted::Table;
            }
            "join" | "straight_join" | "apply" if self.frame.reads => {
                self.frame.condition = false;
                self.wanted = Wanted::Table;
            }
            "into" if self.frame.reads => self.wanted = Wanted::Table,
            "using" if self.using_names && !called => {
                self.frame.lists = true;
                self.wanted = Wanted::Table;
            }
            "on" => {
                self.frame.condition = !self.on_names;
                self.wanted = if std::mem::take(&mut self.on_names) { Wanted::Table } else { Wanted::Nothing };
            }
            "where" | "group" | "order" | "having" | "limit" | "set" | "values" | "value" | "window" | "returning" | "for" | "fetch"
            | "offset" | "qualify" | "when" => {
                self.frame.lists = false;
                self.wanted = Wanted::Nothing;
            }
            "union" | "intersect" | "except" | "minus" => {
                self.frame.lists = false;
                self.continues = true;
                self.wanted = Wanted::Nothing;
            }
            "lateral" if self.wanted != Wanted::Nothing => {}
            // Words that may stand before the name.
            "only" | "ignore" | "low_priority" | "high_priority" | "delayed" | "quick" | "concurrently" | "if" | "not" | "exists"
            | "overwrite" | "or" | "rollback" | "abort" | "fail"
                if self.wanted != Wanted::Nothing && !called => {}
            "table" if self.wanted == Wanted::Table => {
                // `INSERT OVERWRITE TABLE t`, but also a table that somebody named `table`.
                if !matches!(scan.peek(), Some(Token::Word(..) | Token::Quoted(..))) || self.frame.lists {
                    self.name(start, end, scan);
                }
            }
            _ => {
                if self.defines && self.frames.is_empty() && !called | matches!(before, "with" | "recursive" | "") {
                    self.define(start, end, scan);
                }
                self.name(start, end, scan);
            }
        }
    }

    /// `name AS (` or `name (columns) AS (` after `WITH`.
    fn define(&mut self, start: usize, end: usize, scan: &mut Scan<'_>) {
        let follows = match scan.peek() {
            Some(Token::Word(from, to)) => self.statement.get(from..to).is_some_and(|word| word.eq_ignore_ascii_case("as")),
            other => other == Some(Token::Open),
        };
        if follows
            && self.defined.len() < TABLES_MAX
            && let Some(name) = self.statement.get(start..end)
        {
            self.defined.push(name);
        }
    }

    /// A statement's first word.
    fn first(&mut self, word: &str, start: usize, end: usize, scan: &mut Scan<'_>) {
        match word {
            "explain" | "describe" => {
                self.push(start, end, Kind::Operation);
                return;
            }
            "analyze" | "analyse" | "verbose" if !self.pieces.is_empty() => return,
            _ => self.start = false,
        }
        match word {
            "with" => {
                self.defines = true;
                self.frame.reads = true;
            }
            "select" => {
                self.push(start, end, Kind::Operation);
                self.frame = Frame { reads: true, ..Frame::default() };
            }
            "insert" | "update" | "delete" | "merge" | "replace" => self.operation(word, start, end),
            "call" | "exec" | "execute" => {
                self.push(start, end, Kind::Operation);
                self.wanted = Wanted::Other;
            }
            "create" | "alter" | "drop" | "truncate" => self.definition(word, start, end, scan),
            _ => {
                self.data_follows = word == "copy";
                self.push(start, end, Kind::Operation);
            }
        }
    }

    fn operation(&mut self, word: &str, start: usize, end: usize) {
        self.push(start, end, Kind::Operation);
        self.continues = false;
        self.frame = Frame { reads: true, lists: word == "update" || word == "delete", condition: false };
        self.using_names = word == "delete" || word == "merge";
        self.wanted = Wanted::Table;
    }

    /// `CREATE`, `ALTER`, `DROP`, `TRUNCATE`: the operation is the verb with the kind of thing.
    fn definition(&mut self, verb: &str, start: usize, end: usize, scan: &mut Scan<'_>) {
        self.push(start, end, Kind::Operation);
        let mut kind = String::new();
        while kind.is_empty() {
            let Some(Token::Word(from, to)) = scan.peek() else { break };
            let word = fold(self.statement.get(from..to).unwrap_or_default());
            match word.as_str() {
                "or" | "replace" | "temp" | "temporary" | "global" | "local" | "unlogged" | "recursive" | "force" | "online"
                | "offline" | "public" | "private" | "editionable" | "noneditionable" => {}
                "unique" | "clustered" | "nonclustered" | "materialized" | "fulltext" | "spatial" | "foreign" | "external" | "virtual"
                | "bitmap" | "event" | "text" => self.push(from, to, Kind::Operation),
                _ if verb == "truncate" && word != "table" => break,
                _ => {
                    self.push(from, to, Kind::Operation);
                    kind = word;
                }
            }
            scan.next();
        }
        let table = matches!(kind.as_str(), "table" | "view") || verb == "truncate";
        self.wanted = if table { Wanted::Table } else { Wanted::Other };
        self.on_names = matches!(kind.as_str(), "index" | "trigger" | "policy" | "rule");
        self.frame.lists = table && matches!(verb, "drop" | "truncate");
    }
}

/// Whether a word before `UPDATE`, `DELETE`, … makes it a clause of the present statement.
fn is_clause(before: &str) -> bool {
    matches!(before, "for" | "do" | "on" | "key" | "then" | "before" | "after" | "of" | "or" | "no" | "instead" | "," | "grant" | "revoke")
}

/// A short word in lower case; a long one is no keyword, so its text does not matter.
fn fold(word: &str) -> String {
    if word.len() > 16 { String::from("\u{1}") } else { word.to_ascii_lowercase() }
}

/// Commands that are no SQL: `find products`, `GET`.
fn foreign(statement: &str, dialect: Dialect) -> Option<Vec<Piece<'_>>> {
    let (operation, target) = crate::sql::other::summary(statement, dialect)?;
    let mut pieces = vec![Piece { text: operation, kind: Kind::Operation }];
    pieces.extend(target.map(|text| Piece { text, kind: Kind::Table }));
    Some(pieces)
}
