//! Writes a syntax tree down in one canonical way.
//!
//! The tree is changed in place until kin look alike, and then printed. The print is not SQL any more (`and(a, b)` for a
//! chain of conditions: a list has neither an order nor a depth), it is only ever hashed.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    Assignment, BinaryOperator, CastKind, Expr, FromTable, FunctionArguments, GroupByExpr, Ident, Join, JoinOperator, ObjectName,
    OnConflictAction, OnInsert, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor, TableObject, TableWithJoins,
    UpdateTableFromKind, VisitMut, VisitorMut,
};

use super::GO_ON;
use super::chains::{compare, flatten, is_chain, list, membership, merge_branches, no_values};
use super::names::without_dates;
use super::with::Defined;
use super::{positions, scope};

/// The canonical print of statements; the tree is used up.
pub(super) fn canonical(statements: &mut Vec<Statement>) -> String {
    let mut canon = Canon { scopes: Vec::new(), defined: Defined::default(), seen: BTreeMap::new(), derived: 0, depth: 0 };
    let _: ControlFlow<()> = statements.visit(&mut canon);
    let texts: Vec<String> = statements.iter().map(ToString::to_string).collect();
    texts.join(";")
}

/// A relation and what it is called canonically.
struct Named {
    called: String,
    canonical: String,
}

struct Canon {
    scopes: Vec<Vec<Named>>,
    /// What `WITH` defines.
    defined: Defined,
    /// How often each table was named, so that the second of a self-join is another one.
    seen: BTreeMap<String, usize>,
    derived: usize,
    /// How many queries are open.
    depth: usize,
}

impl Canon {
    fn name_table(&mut self, name: &ObjectName) -> String {
        self.count(without_dates(&scope::full_name(name)))
    }

    /// The name of a table, with a number from its second mention on.
    fn count(&mut self, plain: String) -> String {
        let times = self.seen.entry(plain.clone()).or_insert(0);
        *times += 1;
        if *times == 1 { plain } else { format!("{plain}#{times}") }
    }

    /// Gives every factor of a list its canonical name.
    fn enter(&mut self, tables: &mut [TableWithJoins], scope: &mut Vec<Named>) {
        for table in tables {
            self.enter_factor(&mut table.relation, scope);
            for join in &mut table.joins {
                self.enter_factor(&mut join.relation, scope);
                simplify_join(join);
            }
        }
    }

    fn enter_factor(&mut self, factor: &mut TableFactor, scope: &mut Vec<Named>) {
        let called = scope::relation(factor).called;
        if let TableFactor::Derived { subquery, alias: Some(alias), .. } = factor
            && !alias.columns.is_empty()
        {
            positions::number(subquery);
        }
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => {
                let canonical = match self.defined.canonical(name).map(str::to_owned) {
                    Some(defined) => self.count(defined),
                    None => self.name_table(name),
                };
                *alias = None;
                *name = ObjectName::from(vec![Ident::new(canonical.clone())]);
                scope.push(Named { called, canonical });
            }
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                self.enter(std::slice::from_mut(table_with_joins), scope);
            }
            TableFactor::Table { alias: Some(alias), .. }
            | TableFactor::Derived { alias: Some(alias), .. }
            | TableFactor::Function { alias: Some(alias), .. }
            | TableFactor::TableFunction { alias: Some(alias), .. }
            | TableFactor::UNNEST { alias: Some(alias), .. } => {
                self.derived += 1;
                let canonical = format!("#{}", self.derived);
                alias.name = Ident::new(canonical.clone());
                alias.explicit = true;
                scope.push(Named { called, canonical });
            }
            _ => {}
        }
    }

    /// The canonical form of a qualified column: without its qualifier where only one relation is read.
    fn column(&self, parts: &[Ident]) -> Option<Expr> {
        let (column, qualifiers) = parts.split_last()?;
        let qualifier = qualifiers.last()?;
        let (depth, named) = scope::find(&self.scopes, qualifier, |named: &Named| &named.called)?;
        let innermost = depth + 1 == self.scopes.len();
        if innermost && self.scopes.get(depth).is_some_and(|scope| scope.len() == 1) {
            return Some(Expr::Identifier(column.clone()));
        }
        Some(Expr::CompoundIdentifier(vec![Ident::new(named.canonical.clone()), column.clone()]))
    }
}

impl VisitorMut for Canon {
    type Break = ();

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        let mut scope = Vec::new();
        match statement {
            Statement::Update(update) => {
                self.enter(std::slice::from_mut(&mut update.table), &mut scope);
                if let Some(UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from)) = &mut update.from {
                    self.enter(from, &mut scope);
                }
            }
            Statement::Delete(delete) => {
                let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &mut delete.from;
                self.enter(from, &mut scope);
                if let Some(using) = &mut delete.using {
                    self.enter(using, &mut scope);
                }
            }
            Statement::Insert(insert) => {
                positions::insert(insert);
                if let TableObject::TableName(name) = &mut insert.table {
                    let called = insert.table_alias.take().map_or_else(|| scope::last_part(name).to_owned(), |alias| alias.alias.value);
                    let canonical = self.name_table(name);
                    *name = ObjectName::from(vec![Ident::new(canonical.clone())]);
                    scope.push(Named { called, canonical });
                }
            }
            _ => {}
        }
        self.scopes.push(scope);
        GO_ON
    }

    fn post_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<()> {
        self.scopes.pop();
        match statement {
            Statement::Insert(insert) => {
                sort_assignments(&mut insert.assignments);
                if let Some(SetExpr::Values(values)) = insert.source.as_mut().map(|query| query.body.as_mut()) {
                    values.rows.dedup();
                }
                match &mut insert.on {
                    Some(OnInsert::DuplicateKeyUpdate(assignments)) => sort_assignments(assignments),
                    Some(OnInsert::OnConflict(conflict)) => {
                        if let OnConflictAction::DoUpdate(update) = &mut conflict.action {
                            sort_assignments(&mut update.assignments);
                        }
                    }
                    _ => {}
                }
                if let Some(returning) = &mut insert.returning {
                    sort_items(returning);
                }
            }
            Statement::Update(update) => {
                sort_assignments(&mut update.assignments);
                if let Some(returning) = &mut update.returning {
                    sort_items(returning);
                }
            }
            Statement::Delete(delete) => {
                if let Some(returning) = &mut delete.returning {
                    sort_items(returning);
                }
            }
            _ => {}
        }
        GO_ON
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let outermost = self.depth == 0;
        self.depth += 1;
        positions::unwrap(query);
        self.defined.open(query.with.as_mut());
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            if !cte.alias.columns.is_empty() {
                positions::number(&mut cte.query);
            }
        }
        positions::branches(&mut query.body);
        resolve_aliases(query, outermost);
        let mut scope = Vec::new();
        enter_body(self, &mut query.body, &mut scope);
        self.scopes.push(scope);
        self.defined.enter();
        GO_ON
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        self.scopes.pop();
        self.defined.close();
        let body = std::mem::replace(query.body.as_mut(), SetExpr::Values(no_values()));
        *query.body = merge_branches(body);
        if let SetExpr::Select(select) = query.body.as_mut() {
            // The columns of a select list have names, so their order is nothing; where it is something, they are numbered.
            sort_items(&mut select.projection);
        }
        GO_ON
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        sort(&mut select.from);
        if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
            sort(columns);
            columns.dedup();
        }
        GO_ON
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        // From the top, so that a chain is flattened once and not once per link.
        if let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = expr {
            let op = op.clone();
            let chain = std::mem::replace(expr, Expr::Tuple(Vec::new()));
            let mut operands = Vec::new();
            flatten(chain, &op, &mut operands);
            *expr = list(if op == BinaryOperator::And { "and" } else { "or" }, operands);
        }
        // What is compared with a row.
        if let Expr::Subquery(query) | Expr::InSubquery { subquery: query, .. } = expr {
            positions::number(query);
        }
        GO_ON
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let taken = std::mem::replace(expr, Expr::Tuple(Vec::new()));
        // Brackets around whatever might need them, and around nothing else.
        let simple = self.simplify(taken);
        *expr = if is_closed(&simple) { simple } else { Expr::Nested(Box::new(simple)) };
        GO_ON
    }
}

impl Canon {
    fn simplify(&self, expr: Expr) -> Expr {
        match expr {
            Expr::CompoundIdentifier(parts) => self.column(&parts).unwrap_or(Expr::CompoundIdentifier(parts)),
            Expr::QualifiedWildcard(..) => expr,
            Expr::Function(mut function) if is_chain(&function) => {
                if let FunctionArguments::List(list) = &mut function.args {
                    sort(&mut list.args);
                    list.args.dedup();
                }
                Expr::Function(function)
            }
            Expr::Nested(inner) => *inner,
            Expr::Cast { expr, data_type, format, kind: CastKind::DoubleColon } => {
                Expr::Cast { kind: CastKind::Cast, expr, data_type, format }
            }
            Expr::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => membership(left, right, false),
            Expr::AllOp { left, compare_op: BinaryOperator::NotEq, right } => membership(left, right, true),
            Expr::InList { expr, mut list, negated } => {
                sort(&mut list);
                list.dedup();
                Expr::InList { expr, list, negated }
            }
            Expr::BinaryOp { left, op, right } => compare(left, op, right),
            other => other,
        }
    }
}

/// Whether what is printed of an expression reads the same wherever it stands.
fn is_closed(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::Nested(_)
            | Expr::Function(_)
            | Expr::Tuple(_)
            | Expr::Subquery(_)
            | Expr::Array(_)
            | Expr::Case { .. }
            | Expr::Cast { .. }
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..)
    )
}

fn simplify_join(join: &mut Join) {
    let operator = std::mem::replace(&mut join.join_operator, JoinOperator::CrossApply);
    join.join_operator = match operator {
        JoinOperator::Inner(on) => JoinOperator::Join(on),
        JoinOperator::LeftOuter(on) => JoinOperator::Left(on),
        JoinOperator::RightOuter(on) => JoinOperator::Right(on),
        other => other,
    };
}

fn enter_body(canon: &mut Canon, body: &mut SetExpr, scope: &mut Vec<Named>) {
    match body {
        SetExpr::Select(select) => canon.enter(&mut select.from, scope),
        SetExpr::SetOperation { left, right, .. } => {
            enter_body(canon, left, scope);
            enter_body(canon, right, scope);
        }
        _ => {}
    }
}

/// Puts what an alias stands for in its place in `ORDER BY`, `GROUP BY` and `HAVING`. The aliases of the outermost query
/// then mean nothing; those of a subquery are names by which its columns are read.
pub(super) fn resolve_aliases(query: &mut Query, outermost: bool) {
    let SetExpr::Select(select) = query.body.as_mut() else {
        if outermost {
            strip_aliases(&mut query.body);
        }
        return;
    };
    let aliases: BTreeMap<String, Expr> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } => Some((alias.value.clone(), expr.clone())),
            _ => None,
        })
        .collect();
    let resolve = |expr: &mut Expr| {
        if let Expr::Identifier(name) = expr
            && let Some(meant) = aliases.get(&name.value)
        {
            *expr = meant.clone();
        }
    };
    if let Some(OrderByKind::Expressions(orders)) = query.order_by.as_mut().map(|order| &mut order.kind) {
        orders.iter_mut().for_each(|order| resolve(&mut order.expr));
    }
    if let GroupByExpr::Expressions(columns, _) = &mut select.group_by {
        columns.iter_mut().for_each(resolve);
    }
    if outermost {
        strip_aliases(&mut query.body);
    }
}

fn strip_aliases(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => {
            for item in &mut select.projection {
                let taken = std::mem::replace(item, SelectItem::UnnamedExpr(Expr::Tuple(Vec::new())));
                *item = match taken {
                    SelectItem::ExprWithAlias { expr, alias } if !positions::is_label(&alias) => SelectItem::UnnamedExpr(expr),
                    other => other,
                };
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            strip_aliases(left);
            strip_aliases(right);
        }
        SetExpr::Query(query) => strip_aliases(&mut query.body),
        _ => {}
    }
}

/// Sorts by what is printed.
pub(super) fn sort<T: ToString>(items: &mut [T]) {
    items.sort_by_cached_key(ToString::to_string);
}

fn sort_items(items: &mut Vec<SelectItem>) {
    sort(items);
    items.dedup();
}

fn sort_assignments(assignments: &mut [Assignment]) {
    sort(assignments);
}
