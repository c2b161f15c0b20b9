//! What kin a statement has: the fingerprint of its meaning rather than of its text, and what it reads by which column.
//!
//! [`homeostat_reflexes::sql`] tells shapes apart by their text, at event rate. Once per new shape this module parses the
//! normal form into a syntax tree and writes it down in one canonical way, so that statements that differ only in the
//! order of equals, in aliases or in the spelling of one meaning fall into one *family*:
//!
//! - the order of the select list, of `FROM`, of `AND`/`OR` operands, of `GROUP BY`, of columns in `INSERT` (each with
//!   what goes into it) and `SET`; but not of a select list whose columns are told by their place;
//! - aliases of columns and tables, names that `WITH` gives; qualifiers where only one table is read;
//! - brackets that change nothing;
//! - `= ANY (…)` and `IN (…)`, `a = b` and `b = a`, `? < a` and `a > ?`, `INNER JOIN` and `JOIN`, `CAST` and `::`;
//! - how many equal branches a `UNION` has; dates in table names (`events_20210301`);
//! - names that a session gives to prepared statements, cursors and savepoints.
//!
//! # Promises
//! - Pure, and bounded in time, depth and memory: a text beyond [`TEXT_MAX`] bytes, [`OPERATORS_MAX`] operators or
//!   [`BRANCHES_MAX`] branches is not parsed, and nesting beyond [`DEPTH_MAX`] is refused by the parser. No statement overflows the stack.
//! - What cannot be parsed is its own family: the family is then the lexical fingerprint, tables are found lexically.
//! - Nothing but the normal form is seen, so nothing here can hold a literal.

mod canon;
mod chains;
mod conditions;
mod facts;
mod names;
mod positions;
pub(super) mod prepared;
mod scope;
#[cfg(test)]
mod tests;
mod tokens;
mod uses;
mod volatile;
mod walk;
mod with;

use std::ops::ControlFlow;

use homeostat_reflexes::sql::{self, Dialect, Fingerprint};
use serde::{Deserialize, Serialize};
use sqlparser::ast::Statement;
use sqlparser::parser::Parser;

/// A longer normal form is not parsed. Written by hand or by an ORM, hardly one is longer.
pub const TEXT_MAX: usize = 32 * 1024;
/// A statement with more operators is not parsed: chains of operators become trees as deep as they are long.
pub const OPERATORS_MAX: usize = 512;
/// A statement with more `UNION`s and the like is not parsed.
pub const BRANCHES_MAX: usize = 64;
/// Brackets, subqueries and other constructs nested deeper than this are not parsed.
pub const DEPTH_MAX: usize = 48;
/// At most this many column uses are told.
pub const COLUMNS_MAX: usize = 256;
/// At most this many tables are told.
pub const TABLES_MAX: usize = 64;

/// What a column is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Compared for equality with a value: `=`, `IN`, `= ANY`.
    Equality,
    /// Tested with `IS NULL`.
    Null,
    /// Compared with a bound: `<`, `>`, `BETWEEN`.
    Range,
    /// Matched: `LIKE`, `ILIKE`, `SIMILAR TO`, `REGEXP`.
    Pattern,
    /// Excluded: `<>`, `NOT IN`, `NOT LIKE`, `IS NOT NULL`.
    Inequality,
    /// Inside an expression or a function of a condition, so that an index on the bare column does not help.
    Expression,
    /// Equated with a column of another table.
    Join,
    /// Sorted by, ascending.
    Order,
    /// Sorted by, descending.
    OrderDescending,
    /// Grouped by.
    Group,
    /// Selected.
    Select,
}

/// One use of a column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ColumnUse {
    /// The table, if the statement tells: by a qualifier, or because it reads only one.
    pub table: Option<String>,
    /// The column.
    pub column: String,
    /// What for.
    pub role: Role,
    /// Whether the condition must hold for every row of the result (it does not stand under `OR`, `NOT` or `CASE`).
    /// `true` for roles that are no conditions.
    pub conjunct: bool,
}

/// What one look at the syntax tree tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Analysis {
    /// The fingerprint of the canonical form, or of the normal form if that could not be parsed.
    pub family: Fingerprint,
    /// Whether it could be parsed. If not, only `family` and `tables` say something.
    pub parsed: bool,
    /// The tables it names, in order of appearance, without quotes.
    pub tables: Vec<String>,
    /// What columns it uses for what, in order of appearance, each use once.
    pub columns: Vec<ColumnUse>,
    /// It returns, or inserts, all columns of a table: `SELECT *` or `SELECT t.*` where the result comes from, not inside
    /// `EXISTS`, `count(*)` or a subquery whose columns are selected from.
    pub select_star: bool,
    /// Its result is bounded: `LIMIT`, `FETCH`, `TOP`, an aggregate over everything, no table at all, or a bounded
    /// subquery to read from.
    pub bounded: bool,
    /// It returns a value that changes though no data does (`now()`, `random()`, `nextval`) or depends on the session
    /// (`current_user`, `@variable`), or calls for an effect.
    pub volatile: bool,
    /// It locks what it reads.
    pub locking: bool,
    /// It changes rows, be it in a part that `WITH` defines.
    pub writes: bool,
}

impl Analysis {
    /// What can be said about a statement without a syntax tree.
    fn lexical(normal: &str, dialect: Dialect, family: Fingerprint) -> Self {
        Self {
            family,
            parsed: false,
            tables: sql::tables(normal, dialect),
            columns: Vec::new(),
            select_star: false,
            bounded: false,
            volatile: false,
            locking: false,
            writes: false,
        }
    }
}

/// Analyses a normal form, as [`sql::Normaliser::normalise`] gives it. Costs some ten microseconds; meant to be called
/// once per new fingerprint.
#[must_use]
pub fn analyse(normal: &str, dialect: Dialect) -> Analysis {
    let lexical = Fingerprint::of(normal);
    if normal.len() > TEXT_MAX {
        return Analysis::lexical(normal, dialect, lexical);
    }
    let (frame, inner) = names::session_names(normal);
    if inner.is_empty() {
        let family = if frame.is_empty() { lexical } else { Fingerprint::of(&frame) };
        return Analysis::lexical(normal, dialect, family);
    }
    let Some(mut statements) = parse(inner, dialect) else {
        let family = if frame.is_empty() { lexical } else { Fingerprint::of(&format!("{frame}{inner}")) };
        return Analysis::lexical(normal, dialect, family);
    };
    let mut analysis = Analysis { parsed: true, ..Analysis::lexical("", dialect, lexical) };
    uses::collect(&statements, dialect, &mut analysis);
    let canonical = canon::canonical(&mut statements);
    analysis.family = Fingerprint::of(&format!("{frame}{canonical}"));
    analysis
}

/// The statements of a normal form, or `None` if the parser does not understand it.
fn parse(normal: &str, dialect: Dialect) -> Option<Vec<Statement>> {
    let grammar = tokens::grammar(dialect);
    let tokens = tokens::tokens(normal, dialect, grammar)?;
    Parser::new(grammar).with_recursion_limit(DEPTH_MAX).with_tokens(tokens).parse_statements().ok()
}

/// Visitors here never stop early.
const GO_ON: ControlFlow<()> = ControlFlow::Continue(());
