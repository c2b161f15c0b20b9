//! What a repeated statement is to its caller: one of many questions that could be one, or something that repeats for a good
//! reason. Decided once per shape, from its normal form alone.
//!
//! The normal form has lower-case words, `?` for every literal and placeholder, and one space between tokens, so a walk over
//! its tokens is enough; the rules are those that Sentry, Prosopite and Bullet settled on, made stricter where a repeat is
//! deliberate (pages, batches, connection checks).

use super::config::StatementKind;
use super::tokens::tokens;
use homeostat_reflexes::sql::{Shape, Verb};
use serde::{Deserialize, Serialize};

/// Why a statement may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    /// It asks for or changes data: repeats of it are worth a look.
    Data,
    /// It is about the connection, the session, the schema or the driver's own needs.
    Housekeeping,
    /// It is one page of a walk through a result.
    Page,
    /// It handles many rows at once: `= ANY (…)` over keys, several rows of `VALUES`.
    Batch,
    /// It asks for the rows of the keys in an `IN (…)`: a batch where that holds several, one question of a loop where it holds
    /// one. The normal form does not tell which.
    Keys,
    /// The statement was cut: two different ones may look the same.
    Cut,
}

/// A statement's role.
pub(super) fn role(normal: &str, verb: Verb, shape: Shape) -> Role {
    let Some(kind) = StatementKind::of(verb) else { return Role::Housekeeping };
    if shape.is_unterminated() || ends_in_dots(normal) {
        return Role::Cut;
    }
    match kind {
        StatementKind::Document => return document(normal),
        StatementKind::KeyValue | StatementKind::Other | StatementKind::Call => return Role::Data,
        StatementKind::Select if !shape.has_from() => return Role::Housekeeping,
        StatementKind::Select if is_catalogue(normal) => return Role::Housekeeping,
        StatementKind::Insert if shape.has_value_rows() || normal.starts_with("copy ") || normal.starts_with("load ") => {
            return Role::Batch;
        }
        _ => {}
    }
    let clauses = Clauses::read(normal);
    // Object mappers write `OFFSET ?` also where they ask for one row.
    if shape.has_offset() && !clauses.asks_for_one() {
        return Role::Page;
    }
    if clauses.is_batch() {
        return if clauses.arrays { Role::Batch } else { Role::Keys };
    }
    if kind == StatementKind::Select && !shape.has_offset() && clauses.is_page(shape.has_limit()) {
        return Role::Page;
    }
    Role::Data
}

/// Senders mark what they cut with dots.
fn ends_in_dots(normal: &str) -> bool {
    let mut last = normal.chars().rev().filter(|c| *c != ' ').take(3).peekable();
    last.peek() == Some(&'…') || (normal.len() >= 3 && last.all(|c| c == '.'))
}

/// Is a database asked about itself? Drivers and object mappers do that again and again, and it is not the application's doing.
fn is_catalogue(normal: &str) -> bool {
    let mut previous = "";
    for token in tokens(normal) {
        let table = matches!(previous, "from" | "join");
        if table && (token == "dual" || token.starts_with("pg_") || token.starts_with("sqlite_")) {
            return true;
        }
        let schema = token.split('.').next().unwrap_or_default();
        if matches!(schema, "information_schema" | "pg_catalog") {
            return true;
        }
        previous = token;
    }
    false
}

/// The names of a document command's first member say what it is; `skip` and `getMore` are pages, `$in` is a batch.
fn document(normal: &str) -> Role {
    let has = |name: &str| {
        let mut rest = normal;
        while let Some(at) = rest.find(name) {
            let quoted = rest[..at].ends_with('"') && rest[at + name.len()..].starts_with('"');
            if quoted {
                return true;
            }
            rest = &rest[at + name.len()..];
        }
        false
    };
    if ["getMore", "getmore", "skip"].into_iter().any(has) {
        Role::Page
    } else if has("$in") {
        Role::Batch
    } else if ["ping", "hello", "isMaster", "ismaster", "endSessions", "buildInfo", "saslStart"].into_iter().any(has) {
        Role::Housekeeping
    } else {
        Role::Data
    }
}

/// Does it change data? For a document store its verb does not say so.
pub(super) fn is_write(normal: &str, verb: Verb) -> bool {
    let document_write =
        || ["insert", "update", "delete", "findAndModify", "findandmodify"].iter().any(|name| normal.contains(&format!("\"{name}\"")));
    verb.is_write() || (verb == Verb::Document && document_write())
}

/// What the conditions of a statement compare with a value from outside.
#[derive(Default)]
struct Clauses<'a> {
    /// Columns with `= ?`.
    equal: Vec<&'a str>,
    /// Columns with `in (?)` or `= any (?)`.
    listed: Vec<&'a str>,
    /// Some of them with `= any (?)`: an array, of which nobody sees how many it holds.
    arrays: bool,
    /// Columns with `> ?` or `>= ?`.
    above: Vec<&'a str>,
    /// Columns with `< ?` or `<= ?`.
    below: Vec<&'a str>,
    /// Those of them with `>= ?` or `<= ?`.
    reached: Vec<&'a str>,
    /// Columns with `between ? and ?`.
    between: Vec<&'a str>,
    /// `(a, b) > (?)`.
    rows_compared: bool,
    /// The first column of the outermost, that is the last, `order by`, and whether it descends.
    order: Option<(&'a str, bool)>,
}

impl<'a> Clauses<'a> {
    fn read(normal: &'a str) -> Self {
        let all: Vec<&str> = tokens(normal).collect();
        let at = |index: usize| all.get(index).copied().unwrap_or_default();
        let mut clauses = Clauses::default();
        let mut in_condition = false;
        for index in 0..all.len() {
            match at(index) {
                "where" | "on" | "having" => in_condition = true,
                "group" | "returning" | "limit" | "set" => in_condition = false,
                "order" if at(index + 1) == "by" => {
                    in_condition = false;
                    clauses.order = Some((last_name(at(index + 2)), at(index + 3) == "desc"));
                }
                _ if !in_condition => {}
                "=" if index > 0 && at(index + 1) == "?" => clauses.equal.push(last_name(at(index - 1))),
                "=" if index > 0 && at(index + 1) == "any" && at(index + 2) == "(" && at(index + 3) == "?" => {
                    clauses.listed.push(last_name(at(index - 1)));
                    clauses.arrays = true;
                }
                "in" if index > 0
                    && at(index - 1) != "not"
                    && at(index + 1) == "("
                    && at(index + 2) != "select"
                    && at(index + 2) != "with" =>
                {
                    clauses.listed.push(last_name(at(index - 1)));
                }
                operator @ (">" | ">=" | "<" | "<=") if at(index + 1) == "?" && index > 0 => {
                    let column = last_name(at(index - 1));
                    if operator.starts_with('>') { &mut clauses.above } else { &mut clauses.below }.push(column);
                    if operator.ends_with('=') {
                        clauses.reached.push(column);
                    }
                }
                ">" | "<" if index > 0 && at(index - 1) == ")" && at(index + 1) == "(" => clauses.rows_compared = true,
                "between" if index > 0 => clauses.between.push(last_name(at(index - 1))),
                _ => {}
            }
        }
        clauses
    }

    /// A list of keys is the caller's own batch, also when it is narrowed by something that is no key of a loop: a kind, a
    /// state, a tenant. `post_id = ? and kind in (?)` is no batch: it is asked per post.
    fn is_batch(&self) -> bool {
        !self.listed.is_empty()
            && (self.equal.is_empty()
                || (self.listed.iter().any(|column| is_key(column)) && self.equal.iter().all(|column| !is_key(column) || is_scope(column))))
    }

    /// A row by its own key: there is nothing to walk through.
    fn asks_for_one(&self) -> bool {
        self.equal.iter().any(|column| is_own_key(column))
    }

    /// A walk by key: `id > ? order by id limit ?`, `(a, b) > (?) order by a, b limit ?`, or slices `id between ? and ?`.
    fn is_page(&self, limited: bool) -> bool {
        let scoped = self.equal.iter().all(|column| !is_key(column) || is_scope(column));
        let slices = self.between.iter().any(|column| is_key(column))
            || self.above.iter().any(|column| is_key(column) && self.below.contains(column));
        if scoped && slices {
            return true;
        }
        if !limited {
            return false;
        }
        match self.order {
            // What was valid at a time, of one of many: a walk would not see its last row again.
            Some((column, _)) if !scoped && self.reached.contains(&column) => false,
            Some((column, descending)) => self.rows_compared || if descending { &self.below } else { &self.above }.contains(&column),
            None => self.equal.is_empty() && self.above.iter().chain(&self.below).any(|column| is_key(column)),
        }
    }
}

/// `"public"."Review"."productId"` → `productId`.
fn last_name(token: &str) -> &str {
    token.rsplit('.').next().unwrap_or(token).trim_matches(|c| matches!(c, '"' | '`' | '[' | ']'))
}

/// Does the name of a column say that it holds the keys of its own table?
fn is_own_key(column: &str) -> bool {
    ["id", "uuid", "guid", "pk", "key", "sku", "slug", "uid", "oid"].iter().any(|name| column.eq_ignore_ascii_case(name))
}

/// Does the name of a column say that it holds keys?
fn is_key(column: &str) -> bool {
    let lower = column.to_ascii_lowercase();
    is_own_key(column)
        || ["_id", "_uuid", "_guid", "_pk", "_key", "_no", "_uid"].iter().any(|end| lower.ends_with(end))
        || column.ends_with("Id")
}

/// Does the name of a column say whose data it is? That is the same in all of a request's questions.
fn is_scope(column: &str) -> bool {
    let lower = column.to_ascii_lowercase();
    ["tenant", "organization", "organisation", "org", "workspace", "account"]
        .iter()
        .any(|owner| lower.strip_prefix(owner).is_some_and(|rest| matches!(rest, "_id" | "id" | "_uuid" | "_key")))
}
