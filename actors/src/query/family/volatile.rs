//! What has another value next time though no data changed, or depends on who asks: no answer that holds it can be kept.

use homeostat_reflexes::sql::Dialect;
use sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments};

use super::facts::is_value_word;
use super::scope;

/// Whether an expression by itself (without what stands in it) is volatile.
pub(super) fn is_volatile(expr: &Expr, dialect: Dialect) -> bool {
    match expr {
        Expr::Identifier(name) => name.quote_style.is_none() && is_value_word(&name.value),
        Expr::Function(function) => {
            let arguments = match &function.args {
                FunctionArguments::List(list) => list.args.as_slice(),
                FunctionArguments::None | FunctionArguments::Subquery(_) => &[],
            };
            is_volatile_call(scope::last_part(&function.name), arguments, dialect)
        }
        _ => false,
    }
}

/// Whether a function's value changes by itself or depends on the session, or whether it is called for its effect.
pub(super) fn is_volatile_call(function: &str, arguments: &[FunctionArg], dialect: Dialect) -> bool {
    // PostgreSQL's own functions tell of the server, the session or the catalogue, or act on them.
    const FAMILIES: [&str; 4] = ["pg_", "txid_", "inet_", "uuid"];
    is_value_word(function)
        || FAMILIES.iter().any(|family| function.starts_with(family))
        || NAMES.contains(&function)
        || (matches!(dialect, Dialect::Sqlite | Dialect::Generic) && is_time_of_now(function, arguments))
}

const NAMES: &[&str] = &[
    "benchmark",
    "changes",
    "clock_timestamp",
    "connection_id",
    "curdate",
    "current_database",
    "current_schema",
    "current_schemas",
    "current_setting",
    "currval",
    "curtime",
    "database",
    "found_rows",
    "gen_random_bytes",
    "gen_random_uuid",
    "get_lock",
    "getdate",
    "is_free_lock",
    "is_used_lock",
    "last_insert_id",
    "last_insert_rowid",
    "lastval",
    "newid",
    "nextval",
    "now",
    "rand",
    "random",
    "randomblob",
    "release_all_locks",
    "release_lock",
    "row_count",
    "schema",
    "set_config",
    "setval",
    "sleep",
    "statement_timestamp",
    "sysdate",
    "timeofday",
    "total_changes",
    "transaction_timestamp",
    "unix_timestamp",
    "user",
];

/// SQLite's functions of time give the present one when they are asked for `'now'`, or for nothing. Which literal stood
/// there a normal form does not tell, so every one may have been that.
fn is_time_of_now(function: &str, arguments: &[FunctionArg]) -> bool {
    let is_literal = |argument: &FunctionArg| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(_))));
    match function {
        "date" | "time" | "datetime" | "julianday" | "unixepoch" => arguments.first().is_none_or(is_literal),
        "strftime" => arguments.get(1).is_none_or(is_literal),
        "timediff" => arguments.iter().any(is_literal),
        _ => false,
    }
}
