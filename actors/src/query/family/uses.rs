//! What a statement reads, by which columns, and whether its result has a bound.

use std::collections::BTreeMap;

use homeostat_reflexes::sql::Dialect;
use sqlparser::ast::{
    Expr, GroupByExpr, Ident, JoinConstraint, LimitClause, OrderByExpr, OrderByKind, OrderBySort, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, TableWithJoins,
};

use super::facts::{column_parts, constraint, is_aggregate};
use super::scope::{self, Relation};
use super::volatile;
use super::walk::{Node, walk};
use super::{Analysis, COLUMNS_MAX, ColumnUse, Role, TABLES_MAX};

/// Adds to the analysis what the statements use.
pub(super) fn collect(statements: &[Statement], dialect: Dialect, analysis: &mut Analysis) {
    let mut uses = Uses { analysis, dialect, scopes: Vec::new(), defined: BTreeMap::new() };
    for statement in statements {
        uses.statement(statement);
    }
}

/// What is known of the result of a query.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    /// All columns of a table.
    star: bool,
    bounded: bool,
}

pub(super) struct Uses<'a> {
    analysis: &'a mut Analysis,
    dialect: Dialect,
    pub(super) scopes: Vec<Vec<Relation>>,
    /// What `WITH` defines.
    defined: BTreeMap<String, Extent>,
}

impl Uses<'_> {
    fn statement(&mut self, statement: &Statement) {
        match statement {
            Statement::Query(query) => {
                let result = self.query(query);
                self.analysis.select_star |= result.star;
                self.analysis.bounded |= result.bounded;
                self.analysis.locking |= !query.locks.is_empty();
            }
            Statement::Insert(insert) => {
                if let Some(target) = scope::insert_target(statement) {
                    self.table(target.table.as_deref().unwrap_or_default());
                }
                self.analysis.writes = true;
                if let Some(query) = &insert.source {
                    let result = self.query(query);
                    self.analysis.select_star |= result.star;
                }
            }
            Statement::Update(_) | Statement::Delete(_) => {
                self.analysis.writes = true;
                self.enter(&scope::statement_lists(statement));
                self.joins(&scope::statement_lists(statement));
                let (selection, orders) = match statement {
                    Statement::Update(update) => {
                        for assignment in &update.assignments {
                            self.inside(&assignment.value, None, false);
                        }
                        (&update.selection, &update.order_by)
                    }
                    Statement::Delete(delete) => (&delete.selection, &delete.order_by),
                    _ => return,
                };
                if let Some(condition) = selection {
                    self.condition(condition, true);
                }
                self.orders(orders);
                self.scopes.pop();
            }
            Statement::Explain { statement, .. } => {
                let writes = self.analysis.writes;
                self.statement(statement);
                self.analysis.writes = writes;
            }
            other => {
                self.analysis.writes |= matches!(other, Statement::Merge(_));
                // Tables and conditions of any other statement, without their context.
                walk(other, &mut |depth, node| self.see(depth, node, None, false));
            }
        }
    }

    fn table(&mut self, name: &str) {
        let tables = &mut self.analysis.tables;
        let known = tables.iter().any(|table| table == name);
        if !known && !name.is_empty() && tables.len() < TABLES_MAX {
            tables.push(name.to_owned());
        }
    }

    pub(super) fn column(&mut self, parts: &[Ident], role: Role, conjunct: bool) {
        let Some((column, qualifiers)) = parts.split_last() else { return };
        let table = match qualifiers.last() {
            Some(qualifier) => match scope::find(&self.scopes, qualifier, |relation: &Relation| &relation.called) {
                Some((_, relation)) => relation.table.clone(),
                None => Some(qualifier.value.clone()),
            },
            None => match self.scopes.last().map(Vec::as_slice) {
                Some([only]) => only.table.clone(),
                _ => None,
            },
        };
        let used = ColumnUse { table, column: column.value.clone(), role, conjunct };
        let columns = &mut self.analysis.columns;
        if columns.len() < COLUMNS_MAX && !columns.contains(&used) {
            columns.push(used);
        }
    }

    /// Opens the scope of the relations in these lists.
    fn enter(&mut self, lists: &[&[TableWithJoins]]) {
        let mut relations = Vec::new();
        for list in lists {
            scope::for_each_factor(list, &mut |factor| relations.push(scope::relation(factor)));
        }
        for relation in &mut relations {
            // What `WITH` defines is no table.
            relation.table = relation.table.take().filter(|table| !self.defined.contains_key(table));
            self.table(relation.table.as_deref().unwrap_or_default());
        }
        self.scopes.push(relations);
    }

    /// Join conditions and subqueries of the relations in these lists.
    fn joins(&mut self, lists: &[&[TableWithJoins]]) {
        for table in lists.iter().copied().flatten() {
            for join in &table.joins {
                match constraint(&join.join_operator) {
                    Some(JoinConstraint::On(condition)) => self.condition(condition, true),
                    Some(JoinConstraint::Using(columns)) => {
                        for column in columns {
                            self.column(&[Ident::new(scope::last_part(column))], Role::Join, true);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    pub(super) fn query(&mut self, query: &Query) -> Extent {
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                // Defined first, so that a recursive one is no table.
                self.defined.insert(cte.alias.name.value.clone(), Extent::default());
                let result = self.query(&cte.query);
                self.defined.insert(cte.alias.name.value.clone(), result);
            }
        }
        let mut result = self.body(
            &query.body,
            query.order_by.as_ref().and_then(|order| match &order.kind {
                OrderByKind::Expressions(orders) => Some(orders.as_slice()),
                OrderByKind::All(_) => None,
            }),
        );
        let limited = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, .. }) => limit.is_some(),
            Some(LimitClause::OffsetCommaLimit { .. }) => true,
            None => false,
        };
        result.bounded |= limited || query.fetch.is_some();
        result
    }

    fn body(&mut self, body: &SetExpr, orders: Option<&[OrderByExpr]>) -> Extent {
        match body {
            SetExpr::Select(select) => self.select(select, orders.unwrap_or_default()),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, right, .. } => {
                let (left, right) = (self.body(left, None), self.body(right, None));
                Extent { star: left.star || right.star, bounded: left.bounded && right.bounded }
            }
            SetExpr::Values(_) => Extent { star: false, bounded: true },
            SetExpr::Insert(statement) | SetExpr::Update(statement) | SetExpr::Delete(statement) | SetExpr::Merge(statement) => {
                self.statement(statement);
                Extent::default()
            }
            SetExpr::Table(_) => Extent { star: true, bounded: false },
        }
    }

    fn select(&mut self, select: &Select, orders: &[OrderByExpr]) -> Extent {
        self.enter(&[&select.from]);
        // What a star takes from each relation, by what the relation is called.
        let mut sources: Vec<(String, Extent)> = Vec::new();
        let mut factors = Vec::new();
        scope::for_each_factor(&select.from, &mut |factor| factors.push(factor));
        for factor in factors {
            let relation = scope::relation(factor);
            let result = match factor {
                TableFactor::Derived { subquery, .. } => self.query(subquery),
                _ => match relation.table.as_ref().and_then(|table| self.defined.get(table)) {
                    Some(result) => *result,
                    None => Extent { star: relation.table.is_some(), bounded: false },
                },
            };
            sources.push((relation.called, result));
        }
        self.calls(&select.from);
        self.joins(&[&select.from]);
        let mut result = Extent::default();
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => result.star |= sources.iter().any(|(_, source)| source.star),
                SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                    let called = scope::last_part(name);
                    result.star |= sources.iter().find(|(name, _)| name == called).is_none_or(|(_, source)| source.star);
                }
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                    self.inside(expr, Some(Role::Select), true);
                }
                _ => {}
            }
        }
        if let Some(condition) = &select.selection {
            self.condition(condition, true);
        }
        let mut grouped = false;
        if let GroupByExpr::Expressions(columns, _) = &select.group_by {
            grouped = !columns.is_empty();
            for column in columns {
                match column_parts(column) {
                    Some(parts) => self.column(parts, Role::Group, true),
                    None => self.inside(column, Some(Role::Expression), true),
                }
            }
        }
        if let Some(condition) = &select.having {
            self.inside(condition, None, false);
        }
        self.orders(orders);
        self.scopes.pop();
        let aggregate = !grouped && !select.projection.is_empty() && select.projection.iter().all(is_aggregate);
        result.bounded = select.top.is_some()
            || select.from.is_empty()
            || aggregate
            || (!sources.is_empty() && sources.iter().all(|(_, source)| source.bounded));
        result
    }

    /// Functions that are read like tables.
    fn calls(&mut self, from: &[TableWithJoins]) {
        scope::for_each_factor(from, &mut |factor| {
            if let TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } = factor {
                self.analysis.volatile |= volatile::is_volatile_call(scope::last_part(name), &[], self.dialect);
            }
        });
    }

    fn orders(&mut self, orders: &[OrderByExpr]) {
        for order in orders {
            let role = match order.options.sort {
                Some(OrderBySort::Desc) => Role::OrderDescending,
                _ => Role::Order,
            };
            match column_parts(&order.expr) {
                Some(parts) => self.column(parts, role, true),
                None => self.inside(&order.expr, Some(Role::Expression), true),
            }
        }
    }

    /// All columns inside an expression get `role` (if any), and its subqueries are read.
    pub(super) fn inside(&mut self, expr: &Expr, role: Option<Role>, conjunct: bool) {
        walk(expr, &mut |depth, node| self.see(depth, node, role, conjunct));
    }

    /// Reads a subquery (which reads its own), and gives a column beside it a role.
    fn see(&mut self, depth: usize, node: Node<'_>, role: Option<Role>, conjunct: bool) {
        match node {
            _ if depth > 0 => {}
            Node::Query(query) => {
                self.query(query);
            }
            Node::Relation(relation) => self.table(&scope::full_name(relation)),
            Node::Expr(expr) => {
                if let (Some(role), Some(parts)) = (role, column_parts(expr)) {
                    self.column(parts, role, conjunct);
                }
                self.analysis.volatile |= volatile::is_volatile(expr, self.dialect);
            }
        }
    }
}
