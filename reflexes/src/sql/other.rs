//! Statements that are no SQL: commands of document stores, written as JSON, and of key-value stores.
//!
//! They reach the generic dialect because instrumentation reports every database the same way. Their literals must
//! not be kept either, and their shape must not depend on them.

use super::bytes::{self, Backslash, peek};
use super::frames::Frames;
use super::normaliser::Facts;
use super::output::Output;
use super::params::Params;
use super::{Dialect, Shape, Verb};

/// The normal form of a JSON command, or `None`.
pub(super) fn normalise(statement: &str, dialect: Dialect, key: u64, output: &mut Output, frames: &mut Frames) -> Option<Facts> {
    if dialect != Dialect::Generic {
        return None;
    }
    let text = statement.as_bytes();
    let at = bytes::space_end(text, 0);
    is_json(text, at).then(|| document(text, at, key, output, frames))
}

/// The operation and, if it names one, the collection of a statement that is no SQL.
pub(super) fn summary(statement: &str, dialect: Dialect) -> Option<(&str, Option<&str>)> {
    if dialect != Dialect::Generic {
        return None;
    }
    let text = statement.as_bytes();
    let mut at = bytes::space_end(text, 0);
    if !is_json(text, at) {
        let end = bytes::run(text, at, |byte| bytes::is_word(byte) || byte == b'.');
        let word = statement.get(at..end)?;
        return is_key_value(text, word.as_bytes(), end).then_some((word, None));
    }
    let mut depth = 0u32;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => depth = depth.saturating_add(1),
            b'}' | b']' => depth = depth.saturating_sub(1),
            byte if bytes::is_space(byte) || matches!(byte, b',' | b':') => {}
            _ => {
                let (content, end) = scalar(text, at);
                let colon = bytes::space_end(text, end.at);
                if depth == 1 && peek(text, colon) == b':' && names_a_collection(content) {
                    let (collection, end) = scalar(text, bytes::space_end(text, colon + 1));
                    let shown = end.closed && is_plain(collection);
                    let operation = std::str::from_utf8(content).ok()?;
                    return Some((operation, std::str::from_utf8(collection).ok().filter(|_| shown)));
                }
                at = end.at.max(at + 1);
                continue;
            }
        }
        at += 1;
    }
    Some(("", None))
}

fn facts(key: u64, verb: Verb) -> Facts {
    Facts { params: Params::new(key), verb, shape: Shape::NOT_SQL }
}

/// Whether a JSON object, or an array of them, begins here. What the lexer writes is never taken for one: it sets
/// a space behind a brace and before a colon.
fn is_json(text: &[u8], at: usize) -> bool {
    let first = bytes::space_end(text, at + 1);
    let adjacent = first == at + 1;
    match (peek(text, at), peek(text, first)) {
        (b'{', b'"' | b'\'') => true,
        (b'{', b'}') => adjacent,
        // Its own normal form.
        (b'{', b'?') => {
            let next = peek(text, first + 1);
            adjacent && (first + 1 == text.len() || !(bytes::is_space(next) || next == b'='))
        }
        (b'{', byte) if bytes::is_word(byte) && !byte.is_ascii_digit() => {
            let colon = bytes::word_end(text, first);
            peek(text, colon) == b':' && peek(text, colon + 1) != b':' && bytes::braced_end(text, at).is_none()
        }
        (b'[', b'{') => is_json(text, first),
        _ => false,
    }
}

/// The commands of a document store whose value is the name of a collection.
const COMMANDS: &[&[u8]] = &[
    b"find",
    b"aggregate",
    b"insert",
    b"update",
    b"delete",
    b"count",
    b"distinct",
    b"findandmodify",
    b"collection",
    b"create",
    b"drop",
    b"createindexes",
    b"mapreduce",
];

/// A JSON command: keys are kept, values are not, equal neighbours in an array collapse, and the collection a
/// command names at its first level is kept if it looks like a name.
fn document(text: &[u8], mut at: usize, key: u64, output: &mut Output, frames: &mut Frames) -> Facts {
    let mut facts = facts(key, Verb::Document);
    let mut depth = 0u32;
    let mut names_collection = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                let open = output.len();
                output.byte(byte);
                frames.open(byte == b'[', false, open, open + 1);
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if frames.end_item(output) {
                    facts.shape.insert(Shape::COLLAPSED);
                }
                output.byte(byte);
                frames.close(output);
                names_collection = false;
                at += 1;
            }
            b',' => {
                if frames.end_item(output) {
                    facts.shape.insert(Shape::COLLAPSED);
                }
                output.byte(b',');
                frames.begin_item(output);
                names_collection = false;
                at += 1;
            }
            b':' => {
                output.byte(b':');
                at += 1;
            }
            byte if bytes::is_space(byte) => at += 1,
            _ => {
                let (content, end) = scalar(text, at);
                if !end.closed {
                    facts.shape.insert(Shape::UNTERMINATED);
                }
                let is_key = end.closed && peek(text, bytes::space_end(text, end.at)) == b':';
                let plain = is_plain(content);
                if is_key {
                    names_collection = depth == 1 && names_a_collection(content);
                    name(output, if plain { content } else { b"?" });
                } else if names_collection && plain && end.closed && matches!(byte, b'"' | b'\'') {
                    name(output, content);
                } else {
                    if output.last() != b'?' {
                        output.byte(b'?');
                    }
                    if content != b"?" {
                        facts.shape.insert(Shape::LITERALS);
                        facts.params.absorb(content, false);
                    }
                    names_collection = false;
                }
                at = end.at.max(at + 1);
            }
        }
    }
    if frames.end_item(output) {
        facts.shape.insert(Shape::COLLAPSED);
    }
    facts
}

fn name(output: &mut Output, content: &[u8]) {
    output.byte(b'"');
    output.text(content);
    output.byte(b'"');
}

/// Whether a key or a collection looks like a name rather than like data.
fn is_plain(content: &[u8]) -> bool {
    content.len() <= 64
        && content.first().is_some_and(|byte| !byte.is_ascii_digit())
        && content.iter().all(|&byte| bytes::is_word(byte) || byte == b'.')
}

fn names_a_collection(key: &[u8]) -> bool {
    COMMANDS.iter().any(|command| key.eq_ignore_ascii_case(command))
}

/// The content and the end of the string or the bare value at `at`.
fn scalar(text: &[u8], at: usize) -> (&[u8], bytes::End) {
    let quote = peek(text, at);
    if matches!(quote, b'"' | b'\'') {
        let end = bytes::quoted_end(text, at + 1, quote, Backslash::Escapes);
        let to = if end.closed { end.at - 1 } else { end.at };
        return (text.get(at + 1..to).unwrap_or_default(), end);
    }
    let to = bytes::run(text, at, |byte| !bytes::is_space(byte) && !b"{}[],:\"'".contains(&byte));
    (text.get(at..to).unwrap_or_default(), bytes::End { at: to, closed: true })
}

/// Commands of Redis and its relatives that no SQL statement begins with.
const KEY_VALUE: &[&str] = &[
    "get",
    "getex",
    "getset",
    "getdel",
    "getrange",
    "mget",
    "mset",
    "msetnx",
    "setex",
    "setnx",
    "psetex",
    "append",
    "strlen",
    "incr",
    "incrby",
    "incrbyfloat",
    "decr",
    "decrby",
    "del",
    "exists",
    "expire",
    "expireat",
    "pexpire",
    "pexpireat",
    "persist",
    "ttl",
    "pttl",
    "type",
    "keys",
    "scan",
    "dump",
    "restore",
    "unlink",
    "touch",
    "hget",
    "hgetall",
    "hset",
    "hsetnx",
    "hmget",
    "hmset",
    "hdel",
    "hexists",
    "hincrby",
    "hkeys",
    "hlen",
    "hvals",
    "hscan",
    "lpush",
    "lpushx",
    "rpush",
    "rpushx",
    "lpop",
    "rpop",
    "llen",
    "lrange",
    "lrem",
    "lset",
    "ltrim",
    "lindex",
    "blpop",
    "brpop",
    "rpoplpush",
    "sadd",
    "srem",
    "smembers",
    "sismember",
    "smismember",
    "scard",
    "sinter",
    "sunion",
    "sdiff",
    "sscan",
    "spop",
    "srandmember",
    "zadd",
    "zrem",
    "zrange",
    "zrevrange",
    "zrangebyscore",
    "zrevrangebyscore",
    "zscore",
    "zcard",
    "zcount",
    "zincrby",
    "zrank",
    "zrevrank",
    "zscan",
    "zremrangebyscore",
    "publish",
    "subscribe",
    "psubscribe",
    "unsubscribe",
    "eval",
    "evalsha",
    "evalsha_ro",
    "eval_ro",
    "fcall",
    "xadd",
    "xread",
    "xreadgroup",
    "xack",
    "xlen",
    "xrange",
    "xdel",
    "xtrim",
    "pfadd",
    "pfcount",
    "pfmerge",
    "setbit",
    "getbit",
    "bitcount",
    "geoadd",
    "georadius",
    "geosearch",
    "auth",
    "hello",
    "multi",
    "watch",
    "unwatch",
    "waitaof",
    "json.get",
    "json.set",
    "json.mget",
    "json.del",
    "ft.search",
    "bf.add",
    "bf.exists",
    "gets",
    "cas",
    "incrbyfloat",
    "setrange",
];

/// Whether the first word of a statement, which ends at `end`, is a key-value command.
pub(super) fn is_key_value(text: &[u8], word: &[u8], end: usize) -> bool {
    if word.is_empty() || word.len() > 16 {
        return false;
    }
    KEY_VALUE.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
        || (word.eq_ignore_ascii_case(b"set") && is_key_value_set(text, end))
}

/// Words that follow `SET` in SQL where a key would follow it in a key-value command.
const SET_WORDS: &[&str] = &[
    "session",
    "local",
    "global",
    "transaction",
    "names",
    "character",
    "charset",
    "role",
    "time",
    "password",
    "constraints",
    "schema",
    "catalog",
    "persist",
    "persist_only",
    "default",
    "xml",
    "isolation",
    "nocount",
    "identity_insert",
    "ansi_nulls",
    "quoted_identifier",
    "rowcount",
    "statistics",
    "language",
    "collation",
    "resource",
    "search_path",
];

/// Tells `SET key value` from SQL's many `SET`s, which assign or begin with one of a few words.
pub(super) fn is_key_value_set(text: &[u8], end: usize) -> bool {
    let (key, key_end) = argument(text, end);
    let (value, _) = argument(text, key_end);
    let is = |word: &[u8], names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()));
    // `a=1`, but not `a<=1`.
    let equals = key.iter().position(|byte| *byte == b'=').and_then(|at| at.checked_sub(1)).and_then(|at| key.get(at));
    let assigns = equals.is_some_and(|byte| bytes::is_word(*byte) || b":`\"])".contains(byte))
        || value.starts_with(b"=")
        || value.starts_with(b":=")
        || is(value, &["to", "on", "off", "from"]);
    // What sticks to the word makes it another one.
    let spoken = is(key, SET_WORDS) && !value.first().is_some_and(|byte| b".,:;()[]".contains(byte));
    let begins = key.first().is_some_and(|byte| bytes::is_word(*byte) || b"`\"[/".contains(byte));
    begins && !assigns && !spoken
}

/// The next argument from `at` on, and its end; comments are no arguments.
fn argument(text: &[u8], at: usize) -> (&[u8], usize) {
    let comment = |at: usize| match (peek(text, at), peek(text, at + 1)) {
        (b'/', b'*') if peek(text, at + 2) != b'!' => Some(bytes::block_end(text, at, true).at),
        (b'-', b'-') => Some(bytes::line_end(text, at)),
        (b'#', next) if !b"{>-".contains(&next) => Some(bytes::line_end(text, at)),
        _ => None,
    };
    let mut start = bytes::space_end(text, at);
    while let Some(end) = comment(start) {
        start = bytes::space_end(text, end);
    }
    let mut end = start;
    while end < text.len() && !bytes::is_space(peek(text, end)) && comment(end).is_none() {
        end += 1;
    }
    (text.get(start..end).unwrap_or_default(), end)
}

/// The arguments of a key-value command from `at` on become one `?`: keys are as much data as values.
pub(super) fn key_value(text: &[u8], at: usize, output: &mut Output, facts: &mut Facts) {
    facts.shape.insert(Shape::NOT_SQL);
    let mut at = bytes::space_end(text, at);
    if at < text.len() {
        output.text(b" ?");
    }
    while at < text.len() {
        let next = bytes::run(text, at, |byte| !bytes::is_space(byte));
        let argument = text.get(at..next).unwrap_or_default();
        if argument == b"?" {
            facts.shape.insert(Shape::PLACEHOLDERS);
        } else {
            facts.shape.insert(Shape::LITERALS);
            facts.params.absorb(argument, false);
        }
        at = bytes::space_end(text, next);
    }
}
