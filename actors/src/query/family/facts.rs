//! What single expressions tell: whether one is a column, a constant, an aggregate.

use sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator, SelectItem,
};

use super::walk::{Node, walk};
use super::{Role, scope};

/// What a join is made by.
pub(super) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::CrossJoin(on)
        | JoinOperator::Semi(on)
        | JoinOperator::LeftSemi(on)
        | JoinOperator::RightSemi(on)
        | JoinOperator::Anti(on)
        | JoinOperator::LeftAnti(on)
        | JoinOperator::RightAnti(on)
        | JoinOperator::StraightJoin(on)
        | JoinOperator::AsOf { constraint: on, .. } => Some(on),
        JoinOperator::CrossApply
        | JoinOperator::OuterApply
        | JoinOperator::ArrayJoin
        | JoinOperator::LeftArrayJoin
        | JoinOperator::InnerArrayJoin => None,
    }
}

/// The parts of a column's name, if the expression is nothing but a column.
pub(super) fn column_parts(expr: &Expr) -> Option<&[Ident]> {
    match expr {
        // Words that the parser takes for columns although they are values.
        Expr::Identifier(name) if name.quote_style.is_none() && is_value_word(&name.value) => None,
        Expr::Identifier(name) => Some(std::slice::from_ref(name)),
        Expr::CompoundIdentifier(parts) => Some(parts),
        Expr::Nested(inner) => column_parts(inner),
        _ => None,
    }
}

/// Whether a word without quotes is a value and no column: MySQL's variables are words, too.
pub(super) fn is_value_word(word: &str) -> bool {
    word.starts_with('@')
        || matches!(
            word,
            "current_date"
                | "current_time"
                | "current_timestamp"
                | "current_user"
                | "current_role"
                | "current_catalog"
                | "session_user"
                | "system_user"
                | "localtime"
                | "localtimestamp"
                | "utc_date"
                | "utc_time"
                | "utc_timestamp"
        )
}

/// Whether an expression reads a column of the row, so that it is no constant to an index.
pub(super) fn has_columns(expr: &Expr) -> bool {
    let mut found = false;
    walk(expr, &mut |depth, node| {
        if let Node::Expr(expr) = node {
            found |= depth == 0 && column_parts(expr).is_some();
        }
    });
    found
}

/// What a comparison uses a column for.
pub(super) fn role_of(op: &BinaryOperator) -> Option<Role> {
    match op {
        BinaryOperator::Eq | BinaryOperator::Spaceship => Some(Role::Equality),
        BinaryOperator::NotEq => Some(Role::Inequality),
        BinaryOperator::Lt | BinaryOperator::LtEq | BinaryOperator::Gt | BinaryOperator::GtEq => Some(Role::Range),
        BinaryOperator::PGLikeMatch | BinaryOperator::PGILikeMatch | BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexIMatch => {
            Some(Role::Pattern)
        }
        _ => None,
    }
}

/// Whether a select item is an aggregate over all rows (and no window function), or a constant beside one.
pub(super) fn is_aggregate(item: &SelectItem) -> bool {
    const AGGREGATES: &[&str] = &[
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "every",
        "bool_and",
        "bool_or",
        "bit_and",
        "bit_or",
        "string_agg",
        "array_agg",
        "json_agg",
        "jsonb_agg",
        "json_object_agg",
        "jsonb_object_agg",
        "group_concat",
        "total",
        "stddev",
        "stddev_pop",
        "stddev_samp",
        "variance",
        "var_pop",
        "var_samp",
        "corr",
        "percentile_cont",
        "percentile_disc",
        "mode",
        "approx_count_distinct",
        "json_arrayagg",
        "json_objectagg",
    ];
    fn aggregates(expr: &Expr) -> bool {
        match expr {
            Expr::Function(function) => {
                let name = scope::last_part(&function.name);
                if function.over.is_some() {
                    return false;
                }
                AGGREGATES.contains(&name)
                    || (!has_columns(expr) && !matches!(function.args, FunctionArguments::None))
                    || (matches!(name, "coalesce" | "round" | "ifnull" | "nullif" | "floor" | "ceil") && arguments(function))
            }
            Expr::Cast { expr, .. } | Expr::Nested(expr) => aggregates(expr),
            Expr::BinaryOp { left, right, .. } => aggregates(left) && aggregates(right),
            Expr::Value(_) => true,
            _ => false,
        }
    }
    fn arguments(function: &Function) -> bool {
        match &function.args {
            FunctionArguments::List(list) => {
                list.args.iter().all(|argument| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if aggregates(expr)))
            }
            FunctionArguments::None | FunctionArguments::Subquery(_) => false,
        }
    }
    match item {
        SelectItem::UnnamedExpr(Expr::Value(_)) | SelectItem::ExprWithAlias { expr: Expr::Value(_), .. } => false,
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => aggregates(expr) && !constant(expr),
        _ => false,
    }
}

/// Whether an expression is the same for every row without aggregating.
fn constant(expr: &Expr) -> bool {
    match expr {
        Expr::Value(_) => true,
        Expr::Nested(expr) | Expr::Cast { expr, .. } => constant(expr),
        Expr::BinaryOp { left, right, .. } => constant(left) && constant(right),
        _ => false,
    }
}
