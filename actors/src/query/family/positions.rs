//! Where the order of a select list is its meaning: what is inserted, compared with a row, or named from outside.
//!
//! There every column gets a label that says where it goes, so that it can be sorted like any other list.

use sqlparser::ast::{Expr, Ident, Insert, Query, Select, SelectItem, SetExpr, Values};

use super::canon::resolve_aliases;
use super::chains::no_values;

/// No name begins so, unless it is quoted.
const MARK: char = '#';

/// Whether an alias is a label.
pub(super) fn is_label(alias: &Ident) -> bool {
    alias.value.starts_with(MARK)
}

/// Labels the columns of a query by their numbers.
pub(super) fn number(query: &mut Query) {
    label(query, &|at| at.to_string());
}

/// Takes off brackets around a query: `(SELECT …)`.
pub(super) fn unwrap(query: &mut Query) {
    while adds_nothing(query) && matches!(*query.body, SetExpr::Query(_)) {
        if let SetExpr::Query(inner) = std::mem::replace(query.body.as_mut(), SetExpr::Values(no_values())) {
            *query = *inner;
        }
    }
}

/// Takes off brackets around the branches of a set operation, or numbers their columns: they are matched by their places.
pub(super) fn branches(body: &mut SetExpr) {
    let SetExpr::SetOperation { left, right, .. } = body else { return };
    for branch in [left, right] {
        if let SetExpr::Query(query) = branch.as_mut() {
            unwrap(query);
            if adds_nothing(query) && matches!(*query.body, SetExpr::Select(_)) {
                **branch = std::mem::replace(query.body.as_mut(), SetExpr::Values(no_values()));
            } else {
                number(query);
            }
        }
        branches(branch);
    }
}

/// Brings the columns of an `INSERT` into their order, each with what goes into it. Where the statement does not tell what
/// goes where, the order stays.
pub(super) fn insert(insert: &mut Insert) {
    let mut columns: Vec<(String, usize)> = insert.columns.iter().map(ToString::to_string).zip(0..).collect();
    let Some(source) = &mut insert.source else { return };
    if let SetExpr::Values(values) = source.body.as_mut() {
        if !spread(values, columns.len()) {
            return;
        }
        columns.sort();
        for row in &mut values.rows {
            row.content = columns.iter().filter_map(|(_, at)| row.content.get(*at).cloned()).collect();
        }
    } else if has_columns(&source.body, columns.len()) {
        let name = |at: usize| columns.get(at).map_or_else(String::new, |(name, _)| name.clone());
        label(source, &name);
        columns.sort();
    } else {
        return number(source);
    }
    insert.columns = columns.iter().filter_map(|(_, at)| insert.columns.get(*at).cloned()).collect();
}

/// Gives every row as many values as there are columns, if that is possible: the normal form has equal neighbours once.
fn spread(values: &mut Values, columns: usize) -> bool {
    if columns == 0 || !values.rows.iter().all(|row| row.content.len() == columns || row.content.len() == 1) {
        return false;
    }
    for row in &mut values.rows {
        if let [only] = row.content.as_slice() {
            row.content = vec![only.clone(); columns];
        }
    }
    true
}

/// Whether a query has so many columns, and says which.
fn has_columns(body: &SetExpr, columns: usize) -> bool {
    match body {
        SetExpr::Select(select) => select.projection.len() == columns && select.projection.iter().all(|item| expression(item).is_some()),
        SetExpr::SetOperation { left, right, .. } => has_columns(left, columns) && has_columns(right, columns),
        SetExpr::Query(query) => has_columns(&query.body, columns),
        _ => false,
    }
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

fn label(query: &mut Query, name: &dyn Fn(usize) -> String) {
    // By its old name it may be sorted.
    resolve_aliases(query, false);
    label_body(&mut query.body, name);
}

fn label_body(body: &mut SetExpr, name: &dyn Fn(usize) -> String) {
    match body {
        SetExpr::Select(select) => label_select(select, name),
        SetExpr::SetOperation { left, right, .. } => {
            label_body(left, name);
            label_body(right, name);
        }
        SetExpr::Query(query) => label(query, name),
        _ => {}
    }
}

fn label_select(select: &mut Select, name: &dyn Fn(usize) -> String) {
    for (at, item) in select.projection.iter_mut().enumerate() {
        if let Some(expr) = expression(item).cloned() {
            *item = SelectItem::ExprWithAlias { expr, alias: Ident::new(format!("{MARK}{}", name(at))) };
        }
    }
}

/// Whether a query is nothing but its body.
fn adds_nothing(query: &Query) -> bool {
    let Query { with, body: _, order_by, limit_clause, fetch, locks, for_clause, settings, format_clause, pipe_operators } = query;
    with.is_none()
        && order_by.is_none()
        && limit_clause.is_none()
        && fetch.is_none()
        && locks.is_empty()
        && for_clause.is_none()
        && settings.is_none()
        && format_clause.is_none()
        && pipe_operators.is_empty()
}
