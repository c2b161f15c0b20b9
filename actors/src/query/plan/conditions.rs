//! Conditions and sort keys as `EXPLAIN (VERBOSE)` writes them: every column with the alias of its relation, every cast spelt
//! out, `IN` as `= ANY`.

use sqlparser::ast::{BinaryOperator, Expr, UnaryOperator};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// A longer condition is not read, bytes.
const TEXT_MAX: usize = 16 * 1024;
/// Conditions of one text that are read.
const CONDITIONS_MAX: usize = 64;
/// How deep a condition is read.
const DEPTH_MAX: usize = 48;

/// What a condition does with a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Compared for equality.
    Equal,
    /// Tested for being null.
    Null,
    /// Tested for not being null.
    NotNull,
    /// Compared with a bound.
    Range,
    /// Either of these under `OR`: every branch needs an index of its own.
    Branch,
    /// Equated with a column of another relation.
    Join,
}

/// One column in a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    /// The alias of its relation, when the plan writes it.
    pub(super) alias: Option<String>,
    pub(super) column: String,
    pub(super) role: Role,
}

/// By what one relation is filtered, joined and sorted.
#[derive(Debug, Default)]
pub(super) struct Uses {
    equal: Vec<String>,
    null: Vec<String>,
    not_null: Vec<String>,
    range: Vec<String>,
    branch: Vec<String>,
    join: Vec<String>,
    sort: Vec<(String, bool)>,
}

impl Uses {
    pub(super) fn note(&mut self, column: String, role: Role) {
        let list = match role {
            Role::Equal => &mut self.equal,
            Role::Null => &mut self.null,
            Role::NotNull => &mut self.not_null,
            Role::Range => &mut self.range,
            Role::Branch => &mut self.branch,
            Role::Join => &mut self.join,
        };
        if !list.contains(&column) && list.len() < CONDITIONS_MAX {
            list.push(column);
        }
    }

    pub(super) fn sorted_by(&mut self, keys: Vec<(String, bool)>) {
        if self.sort.is_empty() {
            self.sort = keys;
        }
    }

    /// The columns of the indexes that might help, what is most promising first.
    pub(super) fn indexes(&self, columns_max: usize) -> Vec<Vec<String>> {
        let mut found: Vec<Vec<String>> = Vec::new();
        let mut offer = |columns: Vec<&String>| {
            let mut index: Vec<String> = Vec::new();
            for column in columns {
                if !index.contains(column) && index.len() < columns_max {
                    index.push(column.clone());
                }
            }
            if !index.is_empty() && !found.contains(&index) {
                found.push(index);
            }
        };
        let equal = || self.equal.iter().chain(&self.null);
        // Rows come out of an index in one direction, or in the other.
        let direction = self.sort.first().map(|(_, descending)| *descending);
        let sort = || self.sort.iter().take_while(|(_, descending)| Some(*descending) == direction).map(|(column, _)| column);
        // What is compared for equality, then what bounds or sorts.
        if let Some(range) = self.range.first() {
            offer(equal().chain([range]).collect());
        }
        offer(equal().chain(sort()).collect());
        offer(self.join.iter().take(1).chain(equal()).collect());
        for column in equal().chain(&self.join).chain(&self.branch).chain(&self.range).chain(&self.not_null) {
            offer(vec![column]);
        }
        offer(equal().collect());
        offer(sort().collect());
        offer(sort().take(1).collect());
        found
    }
}

/// The columns of a condition. What cannot be parsed as a whole is read by its parts.
pub(super) fn of(text: &str) -> Vec<Condition> {
    let mut found = Vec::new();
    if text.len() <= TEXT_MAX {
        read(text, &mut found, 0);
    }
    found
}

fn read(text: &str, found: &mut Vec<Condition>, depth: usize) {
    let text = text.trim();
    if let Some(expr) = parse(text) {
        condition(&expr, true, found, 0);
        return;
    }
    // `(a AND hashed SubPlan 1)`: a subplan is no SQL, what stands beside it is.
    let inner = outer_brackets(text).unwrap_or(text);
    let parts = split_and(inner);
    if depth < 4 && (parts.len() > 1 || inner.len() < text.len()) {
        for part in parts {
            read(part, found, depth + 1);
        }
    }
}

fn parse(text: &str) -> Option<Expr> {
    let mut parser = Parser::new(&PostgreSqlDialect {}).with_recursion_limit(DEPTH_MAX).try_with_sql(text).ok()?;
    let expr = parser.parse_expr().ok()?;
    (parser.peek_token().token == sqlparser::tokenizer::Token::EOF).then_some(expr)
}

/// What stands inside of brackets that are around everything.
fn outer_brackets(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    let mut depth = 0i32;
    for (_, byte) in plain_bytes(inner) {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        if depth < 0 {
            return None;
        }
    }
    Some(inner)
}

/// The parts between `AND` outside of brackets and quotes.
fn split_and(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0i32, 0);
    for (at, byte) in plain_bytes(text) {
        depth += i32::from(byte == b'(') - i32::from(byte == b')');
        if depth == 0 && byte == b' ' && text.get(at..).is_some_and(|rest| rest.starts_with(" AND ")) {
            parts.extend(text.get(from..at));
            from = at + 5;
        }
    }
    parts.extend(text.get(from.min(text.len())..));
    parts
}

/// The bytes outside of quotes.
fn plain_bytes(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut quote = 0u8;
    text.bytes().enumerate().filter(move |(_, byte)| {
        if quote != 0 {
            if *byte == quote {
                quote = 0;
            }
            return false;
        }
        if matches!(byte, b'\'' | b'"') {
            quote = *byte;
            return false;
        }
        true
    })
}

type Column = (Option<String>, String);

fn condition(expr: &Expr, conjunct: bool, found: &mut Vec<Condition>, depth: usize) {
    if depth > DEPTH_MAX || found.len() >= CONDITIONS_MAX {
        return;
    }
    let mut note = |(alias, column): Column, role: Role| {
        let role = if conjunct || role == Role::Join { role } else { Role::Branch };
        found.push(Condition { alias, column, role });
    };
    match expr {
        Expr::Nested(inner) => condition(inner, conjunct, found, depth + 1),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            condition(left, conjunct, found, depth + 1);
            condition(right, conjunct, found, depth + 1);
        }
        Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
            condition(left, false, found, depth + 1);
            condition(right, false, found, depth + 1);
        }
        Expr::BinaryOp { left, op, right } => {
            let role = match op {
                BinaryOperator::Eq => Role::Equal,
                BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => Role::Range,
                _ => return,
            };
            match (column(left), column(right)) {
                (Some(a), Some(b)) if a.0 != b.0 => {
                    if role == Role::Equal {
                        note(a, Role::Join);
                        note(b, Role::Join);
                    }
                }
                (Some(_), Some(_)) | (None, None) => {}
                (Some(a), None) => note(a, role),
                (None, Some(b)) => note(b, role),
            }
        }
        Expr::AnyOp { left, compare_op: BinaryOperator::Eq, .. } => {
            if let Some(column) = column(left) {
                note(column, Role::Equal);
            }
        }
        Expr::IsNull(inner) => {
            if let Some(column) = column(inner) {
                note(column, Role::Null);
            }
        }
        Expr::IsNotNull(inner) => {
            if let Some(column) = column(inner) {
                note(column, Role::NotNull);
            }
        }
        // A bare column is a truth value.
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
            if let Some(column) = column(expr) {
                note(column, Role::Equal);
            }
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } if column(expr).is_some() => {
            if let Some(column) = column(expr) {
                note(column, Role::Equal);
            }
        }
        _ => {}
    }
}

/// A column, also a cast one: where the cast matters the planner will not use the index.
fn column(expr: &Expr) -> Option<Column> {
    match expr {
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [alias, column] => Some((Some(alias.value.clone()), column.value.clone())),
            _ => None,
        },
        Expr::Identifier(name) if name.quote_style.is_some() || !is_value_word(&name.value) => Some((None, name.value.clone())),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => column(inner),
        _ => None,
    }
}

fn is_value_word(word: &str) -> bool {
    ["current_date", "current_time", "current_timestamp", "current_user", "session_user", "localtime", "localtimestamp"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

/// One key of a sort.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SortKey {
    /// The alias of the column's relation, when the plan writes it.
    pub(super) alias: Option<String>,
    pub(super) column: String,
    pub(super) descending: bool,
}

/// A sort key that is a column: `posts.user_id DESC`.
pub(super) fn sort_key(text: &str) -> Option<SortKey> {
    let (key, descending) = match text.find(" DESC") {
        Some(at) if text.get(at + 5..).is_some_and(|rest| rest.is_empty() || rest.starts_with(' ')) => (text.get(..at)?, true),
        _ => (text.split(" NULLS ").next()?, false),
    };
    let (alias, column) = column(&parse(key)?)?;
    Some(SortKey { alias, column, descending })
}
