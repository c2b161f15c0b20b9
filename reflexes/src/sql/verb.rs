//! What a statement does, in a word.

use serde::{Deserialize, Serialize};

/// What a statement does. A `WITH` counts as its main statement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Reads: `SELECT`, `VALUES`, `TABLE`.
    Select,
    /// Adds rows: `INSERT`, `REPLACE`, `COPY`, `LOAD`.
    Insert,
    /// `UPDATE`.
    Update,
    /// `DELETE`.
    Delete,
    /// `MERGE`.
    Merge,
    /// Runs a procedure or a prepared statement: `CALL`, `EXECUTE`, `DO`.
    Call,
    /// Changes the schema, roles or the physical store: `CREATE`, `ALTER`, `DROP`, `VACUUM`, …
    Ddl,
    /// `BEGIN`, `COMMIT`, `SAVEPOINT`, …
    Transaction,
    /// Talks about the session, not about data: `SET`, `SHOW`, `USE`, `PRAGMA`, `DEALLOCATE`, …
    Session,
    /// Housekeeping that a driver or a pool reports as if it were a statement: `connect`, `ping`, …
    Connect,
    /// `EXPLAIN` and `DESCRIBE`.
    Explain,
    /// A key-value command such as `GET key`.
    KeyValue,
    /// A command of a document store, in JSON.
    Document,
    /// Nothing of the above.
    #[default]
    Other,
}

impl Verb {
    /// Whether it changes rows.
    #[must_use]
    pub const fn is_write(self) -> bool {
        matches!(self, Self::Insert | Self::Update | Self::Delete | Self::Merge)
    }

    /// Whether it reads or changes rows, so that double quotes hold names more likely than values.
    pub(super) const fn is_dml(self) -> bool {
        matches!(self, Self::Select | Self::Insert | Self::Update | Self::Delete | Self::Merge)
    }

    /// The verb that a statement's first word (in lower case) announces; `None` for `WITH`, whose verb comes later.
    pub(super) fn of_first_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"with" => return None,
            b"select" | b"values" | b"table" => Self::Select,
            b"insert" | b"replace" | b"copy" | b"load" | b"upsert" => Self::Insert,
            b"update" => Self::Update,
            b"delete" => Self::Delete,
            b"merge" => Self::Merge,
            b"call" | b"exec" | b"execute" | b"do" => Self::Call,
            b"create" | b"alter" | b"drop" | b"truncate" | b"rename" | b"grant" | b"revoke" | b"comment" | b"vacuum" | b"reindex"
            | b"analyze" | b"optimize" | b"cluster" | b"refresh" | b"attach" | b"detach" => Self::Ddl,
            b"begin" | b"start" | b"commit" | b"rollback" | b"savepoint" | b"release" | b"abort" | b"end" => Self::Transaction,
            b"set" | b"reset" | b"show" | b"use" | b"pragma" | b"prepare" | b"deallocate" | b"discard" | b"listen" | b"unlisten"
            | b"notify" | b"declare" | b"fetch" | b"move" | b"close" | b"lock" | b"unlock" | b"flush" | b"checkpoint" | b"kill"
            | b"handler" => Self::Session,
            b"connect" | b"ping" | b"pool" | b"pg" | b"disconnect" | b"quit" | b"administrator" => Self::Connect,
            b"explain" | b"describe" | b"desc" => Self::Explain,
            _ => Self::Other,
        })
    }
}
