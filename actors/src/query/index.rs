//! Which index might help a statement, from its text alone.
//!
//! The rules are those of PgHero and Dexter: columns compared for equality first, then one that bounds or sorts; a column that
//! tells rows apart by itself stands alone; a pattern wants trigrams. What the text does not tell is how selective a column is
//! and which indexes exist, so that a third of these candidates would be useless (measured: precision 0.67); a planner has to
//! have the last word.

use super::family::{Analysis, ColumnUse, Role};
use homeostat_reflexes::sql::Dialect;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Columns of one index at most.
const COLUMNS_MAX: usize = 3;
/// Candidates of one statement at most: so many a planner is asked about.
pub const CANDIDATES_MAX: usize = 8;

/// An index that might help.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IndexCandidate {
    /// The table, without quotes.
    pub table: String,
    /// The columns in order, without quotes; with an operator class where one is needed (`email gin_trgm_ops`).
    pub columns: Vec<String>,
    /// The kind of index: `btree` or `gin`.
    pub using: String,
}

impl IndexCandidate {
    /// The statement that creates it.
    #[must_use]
    pub fn ddl(&self, dialect: Dialect) -> String {
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| match column.split_once(' ') {
                Some((column, class)) => format!("{} {class}", quote(column, dialect)),
                None => quote(column, dialect),
            })
            .collect();
        let table: Vec<String> = self.table.split('.').map(|part| quote(part, dialect)).collect();
        let (table, columns) = (table.join("."), columns.join(", "));
        match dialect {
            Dialect::Postgresql if self.using != "btree" => {
                format!("CREATE INDEX CONCURRENTLY ON {table} USING {} ({columns})", self.using)
            }
            Dialect::Postgresql => format!("CREATE INDEX CONCURRENTLY ON {table} ({columns})"),
            Dialect::Mysql | Dialect::Sqlite | Dialect::Generic => {
                format!("CREATE INDEX {} ON {table} ({columns})", quote(&self.name(), dialect))
            }
        }
    }

    /// `idx_orders_customer_id_created_at`, within the 63 bytes that every system allows.
    fn name(&self) -> String {
        let mut name = String::from("idx");
        for part in self.table.rsplit('.').take(1).chain(self.columns.iter().map(String::as_str)) {
            name.push('_');
            name.extend(part.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }));
        }
        name.truncate(63);
        name
    }
}

/// Words that are no names without quotes in at least one of the dialects.
#[rustfmt::skip] // one word a line would be two hundred
const RESERVED: &[&str] = &[
    "add", "all", "alter", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "before", "between", "both", "by", "call",
    "cascade", "case", "cast", "change", "char", "character", "check", "collate", "column", "condition", "constraint", "continue", "convert",
    "create", "cross", "cube", "current_catalog", "current_date", "current_role", "current_time", "current_timestamp", "current_user", "cursor",
    "database", "databases", "declare", "default", "deferrable", "delayed", "delete", "desc", "describe", "distinct", "div", "do", "double",
    "drop", "each", "else", "elseif", "end", "escaped", "except", "exists", "exit", "explain", "false", "fetch", "float", "for", "force",
    "foreign", "freeze", "from", "full", "fulltext", "function", "generated", "get", "grant", "group", "grouping", "groups", "having", "if",
    "ignore", "ilike", "in", "index", "infile", "initially", "inner", "insert", "int", "integer", "intersect", "interval", "into", "is", "isnull",
    "iterate", "join", "key", "keys", "kill", "lag", "lateral", "lead", "leading", "leave", "left", "like", "limit", "lines", "load",
    "localtime", "localtimestamp", "lock", "long", "loop", "match", "mod", "natural", "not", "notnull", "null", "numeric", "of", "offset", "on",
    "only", "optimize", "option", "or", "order", "out", "outer", "over", "overlaps", "partition", "placing", "precision", "primary", "procedure",
    "range", "rank", "read", "recursive", "references", "release", "rename", "repeat", "replace", "require", "restrict", "return", "returning",
    "revoke", "right", "row", "rows", "schema", "select", "session_user", "set", "show", "similar", "some", "symmetric", "system", "table",
    "tablesample", "then", "to", "trailing", "trigger", "true", "union", "unique", "unlock", "update", "usage", "use", "user", "using", "values",
    "variadic", "verbose", "when", "where", "while", "window", "with", "write", "xor",
];

/// A name as the dialect must see it, to be the same name.
fn quote(name: &str, dialect: Dialect) -> String {
    let plain = !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase()
                || byte.is_ascii_digit()
                || byte == b'_'
                || (dialect != Dialect::Postgresql && byte.is_ascii_uppercase())
        });
    let mark = if dialect == Dialect::Mysql { '`' } else { '"' };
    if plain && !RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        name.to_owned()
    } else {
        format!("{mark}{}{mark}", name.replace(mark, &format!("{mark}{mark}")))
    }
}

/// Is this the database's own table?
pub(super) fn is_system(table: &str) -> bool {
    let table = table.to_ascii_lowercase();
    let (schema, name) = table.rsplit_once('.').unwrap_or(("", &table));
    matches!(schema, "information_schema" | "pg_catalog" | "mysql" | "performance_schema" | "sys")
        || name.starts_with("pg_")
        || name.starts_with("sqlite_")
}

/// Does the name of a column say that it tells rows apart by itself?
fn is_unique(column: &str) -> bool {
    matches!(column.to_ascii_lowercase().as_str(), "id" | "uuid" | "guid" | "email" | "username" | "login" | "slug" | "token")
}

/// Is this the primary key, going by its name? It has an index already.
fn is_primary(column: &str) -> bool {
    column.eq_ignore_ascii_case("id")
}

/// What a planner that knows the schema should be asked about, at most [`CANDIDATES_MAX`]: the candidates of the text, then
/// every column of a condition, a join or an order by itself, keys too (not every table has one), and columns whose table the
/// text does not tell with every table. What does not exist, or exists already, is for the one who knows the schema to drop.
#[must_use]
pub fn to_verify(analysis: &Analysis, dialect: Dialect) -> Vec<IndexCandidate> {
    let mut found = candidates(analysis, dialect);
    let tables = || analysis.tables.iter().filter(|table| !is_system(table));
    let single = |role: Role| matches!(role, Role::Equality | Role::Null | Role::Range | Role::Join | Role::Order | Role::OrderDescending);
    for column in analysis.columns.iter().filter(|column| single(column.role)) {
        let known = column.table.as_ref().filter(|table| analysis.tables.contains(table));
        for table in tables().filter(|table| known.is_none_or(|known| known == *table)) {
            let candidate = IndexCandidate { table: table.clone(), columns: vec![column.column.clone()], using: "btree".to_owned() };
            if found.len() < CANDIDATES_MAX && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found
}

/// The candidates of a statement, best first, without what is certainly there.
#[must_use]
pub fn candidates(analysis: &Analysis, dialect: Dialect) -> Vec<IndexCandidate> {
    let mut found: Vec<IndexCandidate> = Vec::new();
    for table in &analysis.tables {
        if is_system(table) {
            continue;
        }
        let uses: Vec<&ColumnUse> = analysis.columns.iter().filter(|column| column.table.as_ref() == Some(table)).collect();
        let mut offer = |columns: Vec<&str>, using: &str| {
            let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
            let candidate = IndexCandidate { table: table.clone(), columns, using: using.to_owned() };
            if !candidate.columns.is_empty() && found.len() < CANDIDATES_MAX && !found.contains(&candidate) {
                found.push(candidate);
            }
        };
        if let Some(columns) = composite(&uses) {
            offer(columns, "btree");
            continue;
        }
        // Under OR every branch needs an index of its own, or none helps.
        let branches: Vec<&&ColumnUse> =
            uses.iter().filter(|u| !u.conjunct && matches!(u.role, Role::Equality | Role::Null | Role::Range)).collect();
        for column in branches.iter().filter(|u| !is_primary(&u.column)) {
            offer(vec![column.column.as_str()], "btree");
        }
        for column in uses.iter().filter(|u| u.role == Role::Join && !is_primary(&u.column)) {
            offer(vec![column.column.as_str()], "btree");
        }
        if dialect == Dialect::Postgresql {
            for column in uses.iter().filter(|u| u.role == Role::Pattern && u.conjunct) {
                offer(vec![format!("{} gin_trgm_ops", column.column).as_str()], "gin");
            }
        }
    }
    found
}

/// Equality first, then what bounds or sorts. `None` when nothing of that kind is asked for; empty when the primary key
/// answers it.
fn composite<'a>(uses: &[&'a ColumnUse]) -> Option<Vec<&'a str>> {
    let names = |wanted: fn(&ColumnUse) -> bool| {
        let mut names: Vec<&'a str> = Vec::new();
        for column in uses.iter().filter(|column| wanted(column)) {
            if !names.contains(&column.column.as_str()) {
                names.push(&column.column);
            }
        }
        names
    };
    let equal = names(|column| column.conjunct && matches!(column.role, Role::Equality | Role::Null));
    if equal.iter().any(|column| is_primary(column)) {
        return Some(Vec::new());
    }
    if let Some(column) = equal.iter().find(|column| is_unique(column)) {
        return Some(vec![column]);
    }
    let ranges = names(|column| column.conjunct && column.role == Role::Range);
    let (up, down) = (names(|column| column.role == Role::Order), names(|column| column.role == Role::OrderDescending));
    let mut columns = equal;
    if let Some(range) = ranges.first() {
        columns.push(range);
    } else {
        let mut sorted = names(|column| matches!(column.role, Role::Order | Role::OrderDescending));
        // Rows come out of an index in one direction, or in the other.
        if !up.is_empty() && !down.is_empty() {
            sorted.truncate(1);
        }
        if let Some(unique) = sorted.iter().position(|column| is_unique(column)) {
            sorted.truncate(unique + 1);
        }
        columns.extend(sorted);
    }
    columns.dedup();
    columns.truncate(COLUMNS_MAX);
    (!columns.is_empty()).then_some(columns)
}
