//! What a planner is asked, and what its answer tells: pure, so that the hand that asks PostgreSQL only has to carry text.
//!
//! A statement is known by its normal form, so there are no literals to plan with. [`statement`] makes it one that PostgreSQL can
//! prepare, with a parameter for every placeholder, and a *generic* plan is asked for: the planner then assumes the average value
//! of each column, which is what advice for a shape has to hold for.
//!
//! A plan knows what the text does not: which table a column is of, what lies behind a view, which index is there already. So
//! [`candidates`] come from the plan: the columns by which each relation is filtered, joined and sorted.

mod conditions;
#[cfg(test)]
mod tests;

use super::family::prepared;
use conditions::{Condition, Uses};
use homeostat_reflexes::sql::Dialect;
use serde_json::Value;

/// Candidates of one statement at most: so many hypothetical indexes a planner is asked about.
pub const CANDIDATES_MAX: usize = super::index::CANDIDATES_MAX;
/// Columns of one index at most.
const COLUMNS_MAX: usize = 3;
/// A plan that is nested deeper is read only so far.
const DEPTH_MAX: usize = 64;
/// Relations of one plan that are looked at.
const SCANS_MAX: usize = 64;
/// A scan that costs a smaller share of the plan is not worth an index.
const SHARE_MIN: f64 = 0.02;

/// A statement that can be prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its text, with `$1` to `$n`.
    pub text: String,
    /// How many parameters it has.
    pub parameters: usize,
}

/// The statement of a normal form, as PostgreSQL can prepare it; `None` of one that cannot be parsed or is more than one.
///
/// `rows` stands for the placeholder of `LIMIT`, whose generic estimate is a tenth of the table otherwise.
#[must_use]
pub fn statement(normal: &str, rows: u64) -> Option<Statement> {
    let (text, parameters) = prepared::text(normal, Dialect::Postgresql, rows)?;
    Some(Statement { text, parameters })
}

/// An index that might help, on a relation that a plan scans.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlanCandidate {
    /// The schema, without quotes.
    pub schema: String,
    /// The table, without quotes.
    pub table: String,
    /// The columns in order, without quotes.
    pub columns: Vec<String>,
}

/// The root of a plan, of what `EXPLAIN (FORMAT JSON)` gives.
#[must_use]
pub fn root(explained: &Value) -> Option<&Value> {
    explained.get(0)?.get("Plan")
}

/// What a plan is expected to cost, in the planner's units.
#[must_use]
pub fn cost(root: &Value) -> Option<f64> {
    root.get("Total Cost")?.as_f64().filter(|cost| cost.is_finite())
}

/// The names of all indexes that a plan uses.
#[must_use]
pub fn used_indexes(root: &Value) -> Vec<String> {
    let mut names = Vec::new();
    walk(root, 1.0, 0, &mut |node, _| names.extend(node.get("Index Name").and_then(Value::as_str).map(str::to_owned)));
    names
}

/// One relation of a plan.
struct Scan {
    schema: String,
    table: String,
    alias: String,
    /// What scanning it costs, however often.
    cost: f64,
    uses: Uses,
}

/// The indexes that might make this plan cheaper, what is most promising first, at most [`CANDIDATES_MAX`]. The plan has to be
/// of `EXPLAIN (VERBOSE, FORMAT JSON)`.
#[must_use]
pub fn candidates(root: &Value) -> Vec<PlanCandidate> {
    let mut scans = scans(root);
    let whole = cost(root).unwrap_or(0.0);
    scans.retain(|scan| scan.cost >= whole * SHARE_MIN && !is_system(&scan.schema));
    // The most expensive scan first; the order of the plan among equals.
    scans.sort_by(|a, b| b.cost.total_cmp(&a.cost));
    let mut found: Vec<PlanCandidate> = Vec::new();
    let rounds: Vec<Vec<Vec<String>>> = scans.iter().map(|scan| scan.uses.indexes(COLUMNS_MAX)).collect();
    // Of each relation its best candidate, then of each its second best, …
    for round in 0..rounds.iter().map(Vec::len).max().unwrap_or(0) {
        for (scan, indexes) in scans.iter().zip(&rounds) {
            let Some(columns) = indexes.get(round) else { continue };
            let candidate = PlanCandidate { schema: scan.schema.clone(), table: scan.table.clone(), columns: columns.clone() };
            if found.len() < CANDIDATES_MAX && !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    found
}

/// The database's own tables have the indexes that they have.
fn is_system(schema: &str) -> bool {
    schema.starts_with("pg_") || schema == "information_schema"
}

/// Every node, with how often it is expected to run.
fn walk(node: &Value, loops: f64, depth: usize, each: &mut impl FnMut(&Value, f64)) {
    if depth > DEPTH_MAX {
        return;
    }
    each(node, loops);
    let rows = |node: &Value| node.get("Plan Rows").and_then(Value::as_f64).unwrap_or(1.0).max(1.0);
    let text = |node: &Value, key: &str| node.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let children = || node.get("Plans").and_then(Value::as_array).into_iter().flatten();
    let outer = children().find(|child| text(child, "Parent Relationship") == "Outer").map_or(1.0, rows);
    for child in children() {
        // The inner side of a nested loop runs for every row of the outer one, a subplan for every row beside which it stands.
        let more = match text(child, "Parent Relationship").as_str() {
            "Inner" if text(node, "Node Type") == "Nested Loop" => outer,
            "SubPlan" => rows(node).max(outer),
            _ => 1.0,
        };
        walk(child, loops * more, depth + 1, each);
    }
}

/// Every relation that is scanned, and by what it is filtered, joined and sorted anywhere in the plan.
fn scans(root: &Value) -> Vec<Scan> {
    let mut scans: Vec<Scan> = Vec::new();
    walk(root, 1.0, 0, &mut |node, loops| {
        let text = |key: &str| node.get(key).and_then(Value::as_str);
        let (Some(table), Some(alias), Some(kind)) = (text("Relation Name"), text("Alias"), text("Node Type")) else { return };
        // What is changed is scanned below, under the same alias.
        if kind == "ModifyTable" || scans.len() >= SCANS_MAX || scans.iter().any(|scan| scan.alias == alias) {
            return;
        }
        let schema = text("Schema").unwrap_or("public").to_owned();
        let cost = node.get("Total Cost").and_then(Value::as_f64).unwrap_or(0.0);
        scans.push(Scan { schema, table: table.to_owned(), alias: alias.to_owned(), cost: cost * loops, uses: Uses::default() });
    });
    conditions_of(root, None, 0, &mut scans);
    scans
}

const CONDITIONS: [&str; 6] = ["Filter", "Index Cond", "Recheck Cond", "Hash Cond", "Merge Cond", "Join Filter"];

fn conditions_of<'a>(node: &'a Value, around: Option<&'a str>, depth: usize, scans: &mut [Scan]) {
    if depth > DEPTH_MAX {
        return;
    }
    let own = node.get("Alias").and_then(Value::as_str).or(around);
    for key in CONDITIONS {
        let Some(text) = node.get(key).and_then(Value::as_str) else { continue };
        for Condition { alias, column, role } in conditions::of(text) {
            let Some(alias) = alias.as_deref().or(own) else { continue };
            if let Some(scan) = scans.iter_mut().find(|scan| scan.alias == alias) {
                scan.uses.note(column, role);
            }
        }
    }
    if let Some(keys) = node.get("Sort Key").and_then(Value::as_array) {
        // An index gives an order only if all of it is of one relation.
        let keys: Vec<_> = keys.iter().filter_map(Value::as_str).map(conditions::sort_key).collect();
        let of = |key: &Option<conditions::SortKey>| key.as_ref().and_then(|key| key.alias.as_deref().or(own).map(str::to_owned));
        if let Some(alias) = keys.first().and_then(of)
            && let Some(scan) = scans.iter_mut().find(|scan| scan.alias == alias)
        {
            let leading = keys.into_iter().take_while(|key| of(key).as_ref() == Some(&alias)).flatten();
            scan.uses.sorted_by(leading.map(|key| (key.column, key.descending)).collect());
        }
    }
    for child in node.get("Plans").and_then(Value::as_array).into_iter().flatten() {
        conditions_of(child, own, depth + 1, scans);
    }
}
