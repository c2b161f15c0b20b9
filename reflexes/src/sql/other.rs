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

/// The normal form of a statement that is no SQL, or `None`.
pub(super) fn normalise(statement: &str, dialect: Dialect, key: u64, output: &mut Output, frames: &mut Frames) -> Option<Facts> {
    if dialect != Dialect::Generic {
        return None;
    }
    let text = statement.as_bytes();
    let at = bytes::space_end(text, 0);
    if is_json(text, at) {
        return Some(document(text, at, key, output, frames));
    }
    let end = bytes::run(text, at, |byte| bytes::is_word(byte) || byte == b'.');
    let word = text.get(at..end)?;
    is_key_value(text, word, end).then(|| key_value(text, word, end, key, output))
}

fn facts(key: u64, verb: Verb) -> Facts {
    let mut shape = Shape::default();
    shape.insert(Shape::NOT_SQL);
    Facts { params: Params::new(key), verb, shape }
}

/// Whether a JSON object, or an array of them, begins here.
fn is_json(text: &[u8], at: usize) -> bool {
    match peek(text, at) {
        b'{' => {
            let first = bytes::space_end(text, at + 1);
            match peek(text, first) {
                b'"' | b'\'' | b'}' | b'$' => true,
                // Its own normal form, cut short.
                b'?' => matches!(peek(text, first + 1), 0 | b'}' | b','),
                byte if bytes::begins_word(byte) => peek(text, bytes::space_end(text, bytes::word_end(text, first))) == b':',
                _ => false,
            }
        }
        b'[' => {
            let first = bytes::space_end(text, at + 1);
            peek(text, first) == b'{' && is_json(text, first)
        }
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
    let to = bytes::run(text, at, |byte| !bytes::is_space(byte) && !b"{}[],:".contains(&byte));
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

fn is_key_value(text: &[u8], word: &[u8], end: usize) -> bool {
    if word.is_empty() || word.len() > 16 {
        return false;
    }
    if KEY_VALUE.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes())) {
        // `type = 3` is no command.
        return end == text.len() || bytes::is_space(peek(text, end));
    }
    word.eq_ignore_ascii_case(b"set") && is_key_value_set(text, end)
}

/// Tells `SET key value` from SQL's many `SET`s, which assign or begin with one of a few words.
fn is_key_value_set(text: &[u8], end: usize) -> bool {
    let at = bytes::space_end(text, end);
    let key_end = bytes::run(text, at, |byte| !bytes::is_space(byte));
    let first = text.get(at..key_end).unwrap_or_default();
    let next = bytes::space_end(text, key_end);
    let second_end = bytes::run(text, next, |byte| !bytes::is_space(byte));
    let second = text.get(next..second_end).unwrap_or_default();
    const SQL: &[&str] = &[
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
    let assigns = first.contains(&b'=')
        || second.first().is_some_and(|byte| b"=:".contains(byte))
        || second.eq_ignore_ascii_case(b"to")
        || first.first().is_some_and(|byte| b"@\"'`".contains(byte));
    let spoken = SQL.iter().any(|word| first.eq_ignore_ascii_case(word.as_bytes()));
    !assigns && !spoken && !second.is_empty() && !second.eq_ignore_ascii_case(b"on") && !second.eq_ignore_ascii_case(b"off")
}

/// A key-value command: the command, and one `?` for whatever follows it.
fn key_value(text: &[u8], word: &[u8], end: usize, key: u64, output: &mut Output) -> Facts {
    let mut facts = facts(key, Verb::KeyValue);
    output.folded(word);
    let mut at = bytes::space_end(text, end);
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
    facts
}
