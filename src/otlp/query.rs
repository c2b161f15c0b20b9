//! Database spans into `query` events: the normal form goes out, the literals do not.

use super::attributes::Key;
use super::model::{Span, SpanKind};
use super::names::{NAME_MAX, bounded, cut};
use homeostat_reflexes::sql::{Dialect, Normaliser};
use homeostat_schemas::event::{Flag, Query};
use std::hash::{BuildHasher, RandomState};

/// Longest statement that is looked at, in bytes; the rest is cut off before it is normalised.
const STATEMENT_MAX: usize = 64 * 1024;
/// Longest name of a database system or of an error's class.
const WORD_MAX: usize = 100;

/// Systems whose statements are a command and keys: only the command is kept.
const KEY_VALUE: [&str; 8] = ["redis", "valkey", "memcached", "aerospike", "etcd", "keydb", "dragonfly", "hazelcast"];

/// Is it a database query that says what it asked?
pub(super) fn is_query(span: &Span<'_>) -> bool {
    matches!(span.kind, SpanKind::Client | SpanKind::Internal | SpanKind::Unspecified) && span.text(Key::DbStatement).is_some()
}

/// The statement of a span, normalised: what [`query`] sends out.
pub(super) fn normal(span: &Span<'_>, normaliser: &mut Normaliser) -> String {
    statement(span, normaliser).0
}

/// The query of a span with a statement.
pub(super) fn query(span: &Span<'_>, normaliser: &mut Normaliser, keys: &RandomState) -> Query {
    let (statement, literals, truncated) = statement(span, normaliser);
    let params = (literals.is_some() || span.parameters.is_some()).then(|| hash(literals, span.parameters, keys));
    Query {
        statement,
        params,
        system: span.text(Key::DbSystem).map(|system| bounded(&system.to_ascii_lowercase(), WORD_MAX)),
        rows: span.number(Key::DbRows).and_then(|rows| u64::try_from(rows).ok()),
        error: span.failed.then(|| match span.text(Key::ErrorType) {
            Some(class) => Flag::Text(bounded(class, WORD_MAX)),
            None => Flag::Bool(true),
        }),
        source: source(span),
        truncated: truncated.then_some(true),
        ..Query::default()
    }
}

/// Makes of a query that came with its literals one that has none: the normal form, and a keyed hash unless the sender made one.
pub(super) fn redact(query: &mut Query, normaliser: &mut Normaliser, keys: &RandomState) {
    let system = query.system.as_deref().unwrap_or_default();
    let (statement, literals, truncated) = normal_form(&query.statement, system, normaliser);
    query.statement = statement;
    query.truncated = if truncated { Some(true) } else { query.truncated };
    if query.params.is_none() {
        query.params = literals.map(|literals| hash(Some(literals), None, keys));
    }
}

fn hash(literals: Option<u64>, parameters: Option<u64>, keys: &RandomState) -> String {
    format!("{:016x}", keys.hash_one((literals, parameters)))
}

fn statement(span: &Span<'_>, normaliser: &mut Normaliser) -> (String, Option<u64>, bool) {
    normal_form(span.text(Key::DbStatement).unwrap_or_default(), span.text(Key::DbSystem).unwrap_or_default(), normaliser)
}

/// Normal form, keyed hash of the literals, and whether the sender (or the limit here) cut it.
fn normal_form(whole: &str, system: &str, normaliser: &mut Normaliser) -> (String, Option<u64>, bool) {
    let text = cut(whole, STATEMENT_MAX);
    if KEY_VALUE.iter().any(|known| system.eq_ignore_ascii_case(known)) {
        return (command(text), None, false);
    }
    let seen = normaliser.normalise(text, Dialect::from_system(system));
    (seen.normal.to_owned(), seen.params, text.len() < whole.len() || seen.shape.is_unterminated())
}

/// The first word of a command, and whether anything follows it.
fn command(text: &str) -> String {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let plain = !word.is_empty() && word.len() <= 32 && word.bytes().all(|b| b.is_ascii_alphabetic() || b == b'.' || b == b'_');
    match (plain, rest.is_empty()) {
        (true, true) => word.to_ascii_lowercase(),
        (true, false) => format!("{} ?", word.to_ascii_lowercase()),
        (false, _) => "?".to_owned(),
    }
}

fn source(span: &Span<'_>) -> Option<String> {
    let file = span.text(Key::CodeFile)?;
    let whole = match span.number(Key::CodeLine) {
        Some(line) => format!("{file}:{line}"),
        None => file.to_owned(),
    };
    Some(bounded(&whole, NAME_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_keeps_no_key() {
        assert_eq!(command("GET user:17"), "get ?");
        assert_eq!(command("PING"), "ping");
        assert_eq!(command("4111-1111 x"), "?");
        assert_eq!(command(""), "?");
    }
}
