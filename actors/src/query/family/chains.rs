//! Chains of equals (conditions, comparisons, branches of a set operation) become lists with one order.

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments, Ident, ObjectName, SetExpr,
    SetOperator, SetQuantifier, Values,
};

use super::canon::sort;
use super::scope;

/// `= ANY (…)` and `<> ALL (…)` are `IN` and `NOT IN`.
pub(super) fn membership(expr: Box<Expr>, set: Box<Expr>, negated: bool) -> Expr {
    match *set {
        Expr::Subquery(subquery) => Expr::InSubquery { expr, subquery, negated },
        Expr::Array(array) => Expr::InList { expr, list: array.elem, negated },
        Expr::Nested(inner) => membership(expr, inner, negated),
        Expr::Cast { expr: inner, .. } if matches!(*inner, Expr::Value(_) | Expr::Array(_)) => membership(expr, inner, negated),
        set => Expr::InList { expr, list: vec![set], negated },
    }
}

/// Columns come before values, and equals in the order of their names.
pub(super) fn compare(left: Box<Expr>, op: BinaryOperator, right: Box<Expr>) -> Expr {
    let swapped = match op {
        BinaryOperator::Eq | BinaryOperator::NotEq | BinaryOperator::Spaceship => Some(op.clone()),
        BinaryOperator::Lt => Some(BinaryOperator::Gt),
        BinaryOperator::Gt => Some(BinaryOperator::Lt),
        BinaryOperator::LtEq => Some(BinaryOperator::GtEq),
        BinaryOperator::GtEq => Some(BinaryOperator::LtEq),
        _ => None,
    };
    match swapped {
        Some(op) if comes_after(&left, &right) => Expr::BinaryOp { left: right, op, right: left },
        _ => Expr::BinaryOp { left, op, right },
    }
}

fn comes_after(left: &Expr, right: &Expr) -> bool {
    let rank = |expr: &Expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => 0,
        Expr::Value(_) => 2,
        _ => 1,
    };
    match rank(left).cmp(&rank(right)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => rank(left) == 0 && left.to_string() > right.to_string(),
    }
}

/// The operands of a chain of one operator, brackets notwithstanding.
pub(super) fn flatten(expr: Expr, chain: &BinaryOperator, operands: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp { left, op, right } if op == *chain => {
            flatten(*left, chain, operands);
            flatten(*right, chain, operands);
        }
        Expr::Nested(inner) => flatten(*inner, chain, operands),
        other => operands.push(other),
    }
}

/// A chain of operands as a list, in the dress of a function call.
pub(super) fn list(name: &str, operands: Vec<Expr>) -> Expr {
    Expr::Function(Function {
        name: ObjectName::from(vec![Ident::new(name)]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: operands.into_iter().map(|expr| FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))).collect(),
            clauses: Vec::new(),
        }),
        within_group: Vec::new(),
        filter: None,
        null_treatment: None,
        over: None,
    })
}

/// Whether a function is a chain of conditions: its name is a reserved word, so no real function is called so.
pub(super) fn is_chain(function: &Function) -> bool {
    matches!(scope::last_part(&function.name), "and" | "or") && function.name.0.len() == 1
}

/// Branches of one set operation in the order of their print, each once (and twice if there is only one, so that it stays
/// a set operation). `EXCEPT` keeps its order.
pub(super) fn merge_branches(body: SetExpr) -> SetExpr {
    let SetExpr::SetOperation { left, op, set_quantifier, right } = body else { return body };
    if !matches!(op, SetOperator::Union | SetOperator::Intersect) {
        let (left, right) = (Box::new(merge_branches(*left)), Box::new(merge_branches(*right)));
        return SetExpr::SetOperation { left, op, set_quantifier, right };
    }
    let mut branches = Vec::new();
    branch_off(*left, op, set_quantifier, &mut branches);
    branch_off(*right, op, set_quantifier, &mut branches);
    sort(&mut branches);
    branches.dedup();
    let mut branches = branches.into_iter();
    let Some(first) = branches.next() else { return SetExpr::Values(no_values()) };
    let join = |left: SetExpr, right: SetExpr| SetExpr::SetOperation { left: Box::new(left), op, set_quantifier, right: Box::new(right) };
    match branches.next() {
        None => join(first.clone(), first),
        Some(second) => branches.fold(join(first, second), join),
    }
}

fn branch_off(body: SetExpr, chain: SetOperator, quantifier: SetQuantifier, branches: &mut Vec<SetExpr>) {
    match body {
        SetExpr::SetOperation { left, op, set_quantifier, right } if op == chain && set_quantifier == quantifier => {
            branch_off(*left, chain, quantifier, branches);
            branch_off(*right, chain, quantifier, branches);
        }
        other => branches.push(merge_branches(other)),
    }
}

/// A body that stands in for one that is being changed.
pub(super) fn no_values() -> Values {
    Values { explicit_row: false, value_keyword: false, rows: Vec::new() }
}
