//! What conditions use columns for: which must hold for every row, and which the other way round.

use sqlparser::ast::{BinaryOperator, Expr, Ident, UnaryOperator};

use super::facts::{column_parts, has_columns, role_of};
use super::uses::Uses;
use super::{Role, scope};

impl Uses<'_> {
    /// A condition; `conjunct` tells whether it must hold for every row.
    pub(super) fn condition(&mut self, expr: &Expr, conjunct: bool) {
        self.holds(expr, conjunct, false);
    }

    /// A condition or, with `not`, its contrary: `NOT a = 1` is `a <> 1`, `NOT (a OR b)` is `NOT a AND NOT b`.
    fn holds(&mut self, expr: &Expr, conjunct: bool, not: bool) {
        let role = |wanted: Role| if not { contrary(wanted) } else { wanted };
        let listed = |negated: bool, role: Role| if negated == not { role } else { Role::Inequality };
        match expr {
            Expr::Nested(inner) => self.holds(inner, conjunct, not),
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.holds(expr, conjunct, !not),
            Expr::BinaryOp { left, op: op @ (BinaryOperator::And | BinaryOperator::Or), right } => {
                let both = (*op == BinaryOperator::And) != not;
                self.holds(left, conjunct && both, not);
                self.holds(right, conjunct && both, not);
            }
            Expr::BinaryOp { left, op: BinaryOperator::Xor, right } => {
                self.holds(left, false, false);
                self.holds(right, false, false);
            }
            Expr::BinaryOp { left, op, right } => self.comparison(left, role_of(op).map(role), right, conjunct),
            Expr::InList { expr, list, negated } => {
                self.test(expr, listed(*negated, Role::Equality), conjunct);
                for item in list {
                    self.inside(item, None, false);
                }
            }
            Expr::InSubquery { expr, subquery, negated } => {
                self.test(expr, listed(*negated, Role::Equality), conjunct);
                self.query(subquery);
            }
            Expr::AnyOp { left, compare_op, right, .. } => {
                self.test(left, role_of(compare_op).map_or(Role::Expression, role), conjunct);
                self.inside(right, None, false);
            }
            Expr::AllOp { left, compare_op, right } => {
                let member = not && *compare_op == BinaryOperator::NotEq;
                self.test(left, if member { Role::Equality } else { Role::Inequality }, conjunct);
                self.inside(right, None, false);
            }
            Expr::IsNull(inner) => self.test(inner, role(Role::Null), conjunct),
            Expr::IsNotNull(inner) => self.test(inner, listed(true, Role::Null), conjunct),
            Expr::Between { expr, negated, low, high } => {
                self.test(expr, listed(*negated, Role::Range), conjunct);
                self.inside(low, Some(Role::Expression), conjunct);
                self.inside(high, Some(Role::Expression), conjunct);
            }
            Expr::Like { negated, expr, pattern, .. }
            | Expr::ILike { negated, expr, pattern, .. }
            | Expr::SimilarTo { negated, expr, pattern, .. }
            | Expr::RLike { negated, expr, pattern, .. } => {
                self.test(expr, listed(*negated, Role::Pattern), conjunct);
                self.inside(pattern, Some(Role::Expression), conjunct);
            }
            Expr::Exists { subquery, .. } => {
                self.query(subquery);
            }
            // A bare column is a truth value, which is one of two either way.
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.test(expr, Role::Equality, conjunct),
            Expr::IsTrue(inner) | Expr::IsFalse(inner) => self.test(inner, role(Role::Equality), conjunct),
            other => self.inside(other, Some(Role::Expression), conjunct),
        }
    }

    fn comparison(&mut self, left: &Expr, role: Option<Role>, right: &Expr, conjunct: bool) {
        match (column_parts(left), column_parts(right), role) {
            (Some(a), Some(b), Some(Role::Equality)) if !self.of_one_relation(a, b) => {
                self.column(a, Role::Join, conjunct);
                self.column(b, Role::Join, conjunct);
            }
            (Some(a), None, Some(role)) if !has_columns(right) => {
                self.column(a, role, conjunct);
                self.inside(right, None, false);
            }
            (None, Some(b), Some(role)) if !has_columns(left) => {
                self.column(b, role, conjunct);
                self.inside(left, None, false);
            }
            _ => {
                if let (Expr::Tuple(_), Some(role)) = (left, role) {
                    self.test(left, role, conjunct);
                } else {
                    self.inside(left, Some(Role::Expression), conjunct);
                }
                self.inside(right, Some(Role::Expression), conjunct);
            }
        }
    }

    /// Whether two columns are certainly of the same row, so that comparing them looks nothing up.
    fn of_one_relation(&self, a: &[Ident], b: &[Ident]) -> bool {
        let place = |parts: &[Ident]| match parts {
            [.., qualifier, _] => scope::place(&self.scopes, qualifier, |relation| &relation.called),
            _ => self.scopes.last().filter(|scope| scope.len() == 1).map(|_| (self.scopes.len() - 1, 0)),
        };
        let qualifier = |parts: &[Ident]| parts.len().checked_sub(2).and_then(|at| parts.get(at).cloned());
        match (place(a), place(b)) {
            (Some(a), Some(b)) => a == b,
            _ => qualifier(a).is_some() && qualifier(a) == qualifier(b),
        }
    }

    /// A column, or a row of columns, that is tested against values.
    fn test(&mut self, expr: &Expr, role: Role, conjunct: bool) {
        match expr {
            Expr::Nested(inner) => self.test(inner, role, conjunct),
            Expr::Tuple(parts) => parts.iter().for_each(|part| self.test(part, role, conjunct)),
            _ => match column_parts(expr) {
                Some(parts) => self.column(parts, role, conjunct),
                None => self.inside(expr, Some(Role::Expression), conjunct),
            },
        }
    }
}

/// What a column is used for when a condition must not hold.
fn contrary(role: Role) -> Role {
    match role {
        Role::Equality | Role::Null | Role::Pattern => Role::Inequality,
        Role::Inequality => Role::Equality,
        other => other,
    }
}
