//! From the normal form to tokens that the parser accepts: it knows placeholders only where an expression stands, but in
//! a normal form they also stand for the literals that a grammar demands (`varchar(?)`, `interval ?`, `is ?`).

use homeostat_reflexes::sql::Dialect;
use sqlparser::dialect::{self as grammars, Dialect as Grammar};
use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::{BRANCHES_MAX, OPERATORS_MAX};

/// The parser's rules for a dialect.
pub(super) fn grammar(dialect: Dialect) -> &'static dyn Grammar {
    match dialect {
        Dialect::Generic => &grammars::GenericDialect {},
        Dialect::Postgresql => &grammars::PostgreSqlDialect {},
        Dialect::Mysql => &grammars::MySqlDialect {},
        Dialect::Sqlite => &grammars::SQLiteDialect {},
    }
}

/// The tokens of a normal form without white space, or `None` if there are too many operators among them or the text has
/// no tokens.
pub(super) fn tokens(normal: &str, dialect: Dialect, grammar: &dyn Grammar) -> Option<Vec<Token>> {
    let mut tokens = Tokenizer::new(grammar, normal).tokenize().ok()?;
    tokens.retain(|token| !matches!(token, Token::Whitespace(_)));
    if nests_statements(&tokens) {
        return None;
    }
    let branches = tokens.iter().filter(|token| joins_queries(token)).count();
    if branches > BRANCHES_MAX || tokens.iter().filter(|token| deepens(token)).count() > OPERATORS_MAX {
        return None;
    }
    if is_lock_in_share_mode(&tokens) {
        // MySQL's older spelling of `FOR SHARE`, which the parser does not know.
        tokens.truncate(tokens.len() - 4);
        tokens.extend([keyword("for", Keyword::FOR), keyword("share", Keyword::SHARE)]);
    }
    if dialect == Dialect::Mysql {
        for token in tokens.iter_mut().filter(|token| **token == Token::Overlap) {
            *token = keyword("and", Keyword::AND);
        }
    }
    for at in 0..tokens.len() {
        if !is_placeholder(tokens.get(at)) {
            continue;
        }
        let before = at.checked_sub(1).and_then(|at| tokens.get(at));
        // `data ? ?`: the first is PostgreSQL's operator.
        let operator =
            matches!(dialect, Dialect::Postgresql | Dialect::Generic) && ends_operand(before) && is_placeholder(tokens.get(at + 1));
        let replacement = if operator { Token::Question } else { stand_in(before) };
        if let Some(token) = tokens.get_mut(at) {
            *token = replacement;
        }
        if !operator
            && in_type(&tokens, at)
            && let Some(token) = tokens.get_mut(at)
        {
            *token = Token::Number(String::from("1"), false);
        }
    }
    Some(tokens)
}

/// Whether statements may stand in statements (`EXPLAIN EXPLAIN …`), again a level that takes much room.
fn nests_statements(tokens: &[Token]) -> bool {
    let is = |token: &Token, wanted: &[Keyword]| matches!(token, Token::Word(Word { quote_style: None, keyword, .. }) if wanted.contains(keyword));
    const HOLDERS: &[Keyword] = &[Keyword::EXPLAIN, Keyword::DESCRIBE, Keyword::PREPARE, Keyword::WHILE, Keyword::IF, Keyword::BEGIN];
    let holders = tokens.iter().filter(|token| is(token, HOLDERS)).count();
    let described = tokens.windows(2).any(|pair| pair.iter().all(|token| is(token, &[Keyword::DESC])));
    holders > 4 || described
}

/// Whether a token joins two queries into one, a level of the tree that takes much more room than an operator does.
fn joins_queries(token: &Token) -> bool {
    matches!(
        token,
        Token::Word(Word { quote_style: None, keyword: Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::MINUS, .. })
    )
}

/// Whether a token can make the tree deeper by one.
fn deepens(token: &Token) -> bool {
    match token {
        Token::Word(Word { quote_style: None, keyword, .. }) => matches!(
            keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::XOR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::IN
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::RLIKE
                | Keyword::REGEXP
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::DIV
                | Keyword::COLLATE
                | Keyword::AT
                | Keyword::UNION
                | Keyword::INTERSECT
                | Keyword::EXCEPT
                | Keyword::MINUS
                | Keyword::OVERLAPS
                | Keyword::NULL
                | Keyword::MEMBER
                | Keyword::OPERATOR
        ),
        Token::Word(_)
        | Token::Comma
        | Token::LParen
        | Token::RParen
        | Token::Period
        | Token::Placeholder(_)
        | Token::Number(..)
        | Token::SemiColon
        | Token::Question => false,
        _ => true,
    }
}

fn is_lock_in_share_mode(tokens: &[Token]) -> bool {
    let is = |token: &Token, text: &str| matches!(token, Token::Word(word) if word.quote_style.is_none() && word.value == text);
    match tokens {
        [.., lock, r#in, share, mode] => is(lock, "lock") && is(r#in, "in") && is(share, "share") && is(mode, "mode"),
        _ => false,
    }
}

fn is_placeholder(token: Option<&Token>) -> bool {
    match token {
        Some(Token::Question) => true,
        Some(Token::Placeholder(text)) => text == "?",
        _ => false,
    }
}

/// Whether an operand may end with this token.
fn ends_operand(token: Option<&Token>) -> bool {
    match token {
        Some(Token::Word(word)) => {
            word.quote_style.is_some()
                || !matches!(
                    word.keyword,
                    Keyword::SELECT
                        | Keyword::WHERE
                        | Keyword::AND
                        | Keyword::OR
                        | Keyword::NOT
                        | Keyword::LIMIT
                        | Keyword::OFFSET
                        | Keyword::LIKE
                        | Keyword::ILIKE
                        | Keyword::IN
                        | Keyword::THEN
                        | Keyword::ELSE
                        | Keyword::WHEN
                        | Keyword::BETWEEN
                        | Keyword::INTERVAL
                        | Keyword::ON
                        | Keyword::BY
                )
        }
        Some(Token::RParen | Token::RBracket) => true,
        _ => false,
    }
}

/// What the grammar wants where a placeholder stands after `before`.
fn stand_in(before: Option<&Token>) -> Token {
    if let Some(Token::Word(word)) = before
        && word.quote_style.is_none()
    {
        match word.keyword {
            Keyword::IS => return keyword("TRUE", Keyword::TRUE),
            // After `NOT` stands the truth value of `IS NOT TRUE` or an operand; a truth value does for both.
            Keyword::NOT => return keyword("TRUE", Keyword::TRUE),
            Keyword::DATE
            | Keyword::TIME
            | Keyword::TIMESTAMP
            | Keyword::TIMESTAMPTZ
            | Keyword::INTERVAL
            | Keyword::ZONE
            | Keyword::ESCAPE => return Token::SingleQuotedString(String::from("1")),
            Keyword::TOP | Keyword::FIRST | Keyword::NEXT => return Token::Number(String::from("1"), false),
            _ => {}
        }
    }
    Token::Placeholder(String::from("?"))
}

fn keyword(text: &str, keyword: Keyword) -> Token {
    Token::Word(Word { value: text.to_owned(), quote_style: None, keyword })
}

/// Whether the placeholder at `at` is the length or the precision of a type: `varchar(?)`, `numeric(?, ?)`.
fn in_type(tokens: &[Token], at: usize) -> bool {
    let mut open = at;
    while open > 0 && at - open < 4 {
        open -= 1;
        match tokens.get(open) {
            Some(Token::Comma | Token::Number(..)) => {}
            Some(Token::LParen) => break,
            _ => return false,
        }
    }
    let closed = matches!(tokens.get(at + 1), Some(Token::RParen | Token::Comma));
    let name = open.checked_sub(1).and_then(|at| tokens.get(at));
    let Some(Token::Word(word)) = name else { return false };
    closed
        && matches!(tokens.get(open), Some(Token::LParen))
        && matches!(
            word.keyword,
            Keyword::VARCHAR
                | Keyword::CHAR
                | Keyword::CHARACTER
                | Keyword::VARYING
                | Keyword::NVARCHAR
                | Keyword::NUMERIC
                | Keyword::DECIMAL
                | Keyword::DEC
                | Keyword::FLOAT
                | Keyword::BIT
                | Keyword::TIME
                | Keyword::TIMESTAMP
                | Keyword::TIMESTAMPTZ
                | Keyword::DATETIME
                | Keyword::BINARY
                | Keyword::VARBINARY
                | Keyword::INT
                | Keyword::INTEGER
                | Keyword::BIGINT
                | Keyword::SMALLINT
                | Keyword::TINYINT
                | Keyword::DOUBLE
                | Keyword::INTERVAL
        )
}
