//! From a normal form back to a statement that a database can prepare.

use super::tokens::{grammar, tokens};
use super::walk::{Node, walk};
use super::{TEXT_MAX, parse};
use homeostat_reflexes::sql::Dialect;
use sqlparser::ast::{Expr, GroupByExpr, OrderByKind, SetExpr, Statement};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Word};
use std::fmt::Write as _;

/// A list has so many values: what `IN (…)` held is not known.
const LIST: usize = 3;
/// A statement has so many parameters at most.
const PARAMETERS_MAX: usize = 256;

/// The text with `$1` to `$n` for the placeholders of values, and how many these are; `None` unless it is one statement that
/// reads or changes rows.
pub(in super::super) fn text(normal: &str, dialect: Dialect, rows: u64) -> Option<(String, usize)> {
    if normal.len() > TEXT_MAX {
        return None;
    }
    let statements = parse(normal, dialect)?;
    let [Statement::Query(_) | Statement::Update(_) | Statement::Delete(_) | Statement::Merge(_)] = statements.as_slice() else {
        return None;
    };
    if has_positions(&statements) {
        return None;
    }
    let tokens = tokens(normal, dialect, grammar(dialect))?;
    let mut text = String::with_capacity(normal.len() * 2);
    let mut parameters = 0;
    for (at, token) in tokens.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        if matches!(token, Token::SemiColon) {
            continue;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        // Writing to a String cannot fail.
        let _ = match (token, keyword(before)) {
            (Token::Placeholder(_), Some(Keyword::LIMIT)) => write!(text, "{rows}"),
            (Token::Number(..), Some(Keyword::FIRST | Keyword::NEXT | Keyword::TOP)) => write!(text, "{rows}"),
            (Token::Placeholder(_), Some(Keyword::OFFSET)) => write!(text, "0"),
            (Token::SingleQuotedString(_), Some(Keyword::DATE | Keyword::TIMESTAMP | Keyword::TIMESTAMPTZ | Keyword::ZONE)) => {
                write!(text, "'2000-01-01'")
            }
            (Token::SingleQuotedString(_), Some(Keyword::TIME)) => write!(text, "'00:00'"),
            (Token::Placeholder(_), _) => {
                let count = if is_list(&tokens, at) { LIST } else { 1 };
                if parameters + count > PARAMETERS_MAX {
                    return None;
                }
                let list: Vec<String> = (1..=count).map(|n| format!("${}", parameters + n)).collect();
                parameters += count;
                write!(text, "{}", list.join(" , "))
            }
            _ => write!(text, "{token}"),
        };
    }
    Some((text, parameters))
}

/// Is anything sorted or grouped by a placeholder? It was the position of a column, which the normal form does not say.
fn has_positions(statements: &[Statement]) -> bool {
    let mut found = false;
    let mut see = |_, node: Node<'_>| {
        let Node::Query(query) = node else { return };
        let orders = query.order_by.iter().filter_map(|order| match &order.kind {
            OrderByKind::Expressions(orders) => Some(orders),
            OrderByKind::All(_) => None,
        });
        found |= orders.flatten().any(|order| matches!(order.expr, Expr::Value(_)));
        if let SetExpr::Select(select) = query.body.as_ref()
            && let GroupByExpr::Expressions(groups, _) = &select.group_by
        {
            found |= groups.iter().any(|group| matches!(group, Expr::Value(_)));
        }
    };
    for statement in statements {
        walk(statement, &mut see);
    }
    found
}

/// The keyword that a token is.
fn keyword(token: Option<&Token>) -> Option<Keyword> {
    match token {
        Some(Token::Word(Word { quote_style: None, keyword, .. })) => Some(*keyword),
        _ => None,
    }
}

/// Is this the only placeholder of `in (?)`?
fn is_list(tokens: &[Token], at: usize) -> bool {
    let opens = at >= 2 && tokens.get(at - 1) == Some(&Token::LParen) && keyword(tokens.get(at - 2)) == Some(Keyword::IN);
    opens && tokens.get(at + 1) == Some(&Token::RParen)
}
