//! V8 heap snapshots, as `v8.writeHeapSnapshot()` and Chrome's developer tools write them.
//!
//! One JSON object: `snapshot` describes the fields; `nodes` and `edges` are flat arrays of numbers; `strings` stands last, and a
//! node's name is a number of one. Nodes are counted by kind and number of name as they pass, edges passed over, and of the strings
//! only those kept that a counted node is called by. Sizes are self sizes: what an object retains needs the whole graph.
//!
//! Objects are told apart by constructor, closures by function, native ones by their name; all others by kind, in the words of the
//! developer tools: `(string)`, `(array)`, `(compiled code)`.

use super::source::Source;
use super::{Amount, Entry, Format, HeapError, NAME_LENGTH_MAX, NAMES_MAX, OTHERS, Profile};
use memchr::{memchr, memchr2};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::Read;

/// The description is at most this long.
const DESCRIPTION_MAX: usize = 1024 * 1024;
/// A node has at most so many fields.
const FIELDS_MAX: usize = 64;

#[derive(Deserialize)]
struct Description {
    meta: Meta,
    #[serde(default)]
    node_count: u64,
}

#[derive(Deserialize)]
struct Meta {
    node_fields: Vec<String>,
    node_types: Vec<serde_json::Value>,
}

/// What is known before nodes can be read.
struct Layout {
    /// Where a field's number goes: 0 kind, 1 name, 2 size, 3 nowhere.
    slots: Vec<usize>,
    kinds: Vec<Kind>,
    count: u64,
}

/// How nodes of a kind are told apart.
enum Kind {
    /// By name.
    Named(&'static str),
    /// Not at all.
    Together(String),
}

/// Nodes counted by number of name, for each kind, and by kind alone.
struct Counts {
    named: HashMap<(usize, u64), Amount>,
    together: Vec<Amount>,
    others: Amount,
    nodes: u64,
}

/// Reads a snapshot.
///
/// # Errors
/// See [`HeapError`].
pub(super) fn read<R: Read>(source: Source<R>) -> Result<Profile, HeapError> {
    let mut json = Json { source };
    json.expect(b'{', "before the object")?;
    let mut layout = None;
    let mut counts = None;
    let mut names = None;
    let mut key = Vec::new();
    loop {
        json.string(Some(&mut key), "in a key")?;
        json.expect(b':', "after a key")?;
        match key.as_slice() {
            b"snapshot" => {
                let mut text = Vec::new();
                json.value(Some(&mut text))?;
                layout = Some(describe(&text).map_err(|why| json.malformed(format!("the description of the snapshot: {why}")))?);
            }
            b"nodes" => {
                let layout = layout.as_ref().ok_or_else(|| json.malformed("nodes before their description"))?;
                counts = Some(json.nodes(layout)?);
            }
            b"strings" => {
                let counts = counts.as_ref().ok_or_else(|| json.malformed("strings before nodes"))?;
                names = Some(json.names(counts)?);
            }
            _ => json.value(None)?,
        }
        match json.token("after a value")? {
            b',' => {}
            b'}' => break,
            other => return Err(json.unexpected(other, "`,` or `}`")),
        }
    }
    let (Some(layout), Some(counts), Some(names)) = (layout, counts, names) else {
        return Err(json.malformed("it lacks `snapshot`, `nodes` or `strings`"));
    };
    Ok(profile(&layout, counts, &names))
}

fn describe(text: &[u8]) -> Result<Layout, String> {
    let description: Description = serde_json::from_slice(text).map_err(|why| why.to_string())?;
    let fields = &description.meta.node_fields;
    if fields.len() > FIELDS_MAX {
        return Err(format!("more than {FIELDS_MAX} fields"));
    }
    let wanted = ["type", "name", "self_size"];
    let place = |name: &str| fields.iter().position(|field| field == name).ok_or_else(|| format!("no field `{name}`"));
    for name in wanted {
        place(name)?;
    }
    let slots = fields.iter().map(|field| wanted.iter().position(|name| name == field).unwrap_or(wanted.len())).collect();
    let kinds = description.meta.node_types.get(place("type")?).and_then(|kinds| kinds.as_array()).ok_or("no kinds of nodes")?;
    let kind = |name: &serde_json::Value| match name.as_str().unwrap_or("unknown") {
        "object" => Kind::Named(""),
        "closure" => Kind::Named("function "),
        "native" => Kind::Named(""),
        "code" => Kind::Together("(compiled code)".to_owned()),
        "hidden" => Kind::Together("(system)".to_owned()),
        other => Kind::Together(format!("({other})")),
    };
    Ok(Layout { slots, kinds: kinds.iter().map(kind).collect(), count: description.node_count })
}

fn profile(layout: &Layout, counts: Counts, names: &HashMap<u64, String>) -> Profile {
    let mut entries: HashMap<String, Entry> = HashMap::new();
    let mut total = Amount::default();
    let mut put = |name: String, amount: Amount| {
        total.add(amount);
        entries.entry(name).or_default().own.add(amount);
    };
    for ((kind, name), amount) in counts.named {
        let prefix = if let Some(Kind::Named(prefix)) = layout.kinds.get(kind) { prefix } else { "" };
        let name = names.get(&name).map_or("", String::as_str);
        put(if name.is_empty() { format!("{prefix}(anonymous)") } else { format!("{prefix}{name}") }, amount);
    }
    for (kind, amount) in layout.kinds.iter().zip(counts.together) {
        if let (Kind::Together(name), true) = (kind, amount != Amount::default()) {
            put(name.clone(), amount);
        }
    }
    if counts.others != Amount::default() {
        put(OTHERS.to_owned(), counts.others);
    }
    Profile { format: Format::V8, value: None, entries, total }
}

struct Json<R> {
    source: Source<R>,
}

impl<R: Read> Json<R> {
    fn malformed(&self, what: impl Into<String>) -> HeapError {
        self.source.malformed(Format::V8, what)
    }

    fn unexpected(&self, byte: u8, wanted: &str) -> HeapError {
        self.malformed(format!("`{}` where {wanted} should stand", char::from(byte).escape_default()))
    }

    /// The next token's first byte, taken.
    fn token(&mut self, inside: &'static str) -> Result<u8, HeapError> {
        let byte = self.source.peek_text()?.ok_or_else(|| self.source.cut_off(inside))?;
        self.source.consume(1);
        Ok(byte)
    }

    fn expect(&mut self, wanted: u8, inside: &'static str) -> Result<(), HeapError> {
        let byte = self.token(inside)?;
        if byte == wanted { Ok(()) } else { Err(self.unexpected(byte, &format!("`{}`", char::from(wanted)))) }
    }

    /// A string; what is between its quotes goes to `into`, as it is written.
    fn string(&mut self, into: Option<&mut Vec<u8>>, inside: &'static str) -> Result<(), HeapError> {
        self.expect(b'"', inside)?;
        self.rest_of_string(into, inside)
    }

    fn rest_of_string(&mut self, mut into: Option<&mut Vec<u8>>, inside: &'static str) -> Result<(), HeapError> {
        if let Some(into) = &mut into {
            into.clear();
        }
        loop {
            let piece = self.source.piece()?;
            if piece.is_empty() {
                return Err(self.source.cut_off(inside));
            }
            let (end, byte) = match memchr2(b'"', b'\\', piece) {
                Some(end) => (end, piece[end]),
                None => (piece.len(), 0),
            };
            if let Some(into) = &mut into {
                // A key or a name that is longer than any is cut; the rest passes.
                let room = DESCRIPTION_MAX.saturating_sub(into.len());
                into.extend_from_slice(&piece[..end.min(room)]);
            }
            let found = byte != 0;
            self.source.consume(end + usize::from(found));
            match byte {
                b'"' => return Ok(()),
                b'\\' => {
                    let escaped = self.source.next()?.ok_or_else(|| self.source.cut_off(inside))?;
                    if let Some(into) = &mut into
                        && into.len() < DESCRIPTION_MAX
                    {
                        into.extend_from_slice(&[b'\\', escaped]);
                    }
                }
                _ => {}
            }
        }
    }

    /// Any value, passed over or copied. Nesting needs no stack: brackets are counted.
    fn value(&mut self, mut into: Option<&mut Vec<u8>>) -> Result<(), HeapError> {
        let mut depth = 0_u64;
        let inside = "in a value";
        let mut text = Vec::new();
        loop {
            let byte = self.source.peek_text()?.ok_or_else(|| self.source.cut_off(inside))?;
            if depth == 0 && matches!(byte, b',' | b'}' | b']') {
                return Ok(());
            }
            self.source.consume(1);
            if let Some(into) = &mut into {
                if into.len() > DESCRIPTION_MAX {
                    return Err(HeapError::TooMuch { limit: DESCRIPTION_MAX, what: "bytes of description" });
                }
                into.push(byte);
            }
            match byte {
                b'"' => {
                    if let Some(into) = &mut into {
                        self.rest_of_string(Some(&mut text), inside)?;
                        into.extend_from_slice(&text);
                        into.push(b'"');
                    } else {
                        self.rest_of_string(None, inside)?;
                    }
                }
                b'[' => {
                    depth += 1;
                    // An array of numbers, as most are, ends at the next bracket.
                    if into.is_none() && self.source.peek_text()?.is_some_and(|byte| byte.is_ascii_digit()) {
                        self.numbers_end()?;
                    }
                }
                b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 && matches!(byte, b'"' | b']' | b'}') {
                return Ok(());
            }
        }
    }

    /// Passes over numbers to the bracket that ends or nests them, or to a string among them.
    fn numbers_end(&mut self) -> Result<(), HeapError> {
        loop {
            let piece = self.source.piece()?;
            if piece.is_empty() {
                return Err(self.source.cut_off("in an array"));
            }
            let stop = memchr(b']', piece).unwrap_or(piece.len());
            // What is nested comes before the end.
            let stop = memchr2(b'[', b'"', &piece[..stop]).unwrap_or(stop);
            let found = stop < piece.len();
            self.source.consume(stop);
            if found {
                return Ok(());
            }
        }
    }

    fn nodes(&mut self, layout: &Layout) -> Result<Counts, HeapError> {
        self.expect(b'[', "before the nodes")?;
        let together = vec![Amount::default(); layout.kinds.len()];
        let mut counts = Counts { named: HashMap::new(), together, others: Amount::default(), nodes: 0 };
        let fields = layout.slots.len();
        let (mut value, mut digits, mut field) = (0_u64, 0_u32, 0_usize);
        let mut node = [0_u64; 4];
        'all: loop {
            let piece = self.source.piece()?;
            if piece.is_empty() {
                return Err(self.source.cut_off("in the nodes"));
            }
            let length = piece.len();
            let mut wrong = None;
            let mut end = None;
            for (place, &byte) in piece.iter().enumerate() {
                if byte.is_ascii_digit() {
                    value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                    digits += 1;
                    continue;
                }
                if byte == b',' || byte == b']' {
                    if digits == 0 && byte == b']' && field == 0 && counts.nodes == 0 {
                        end = Some(place);
                        break;
                    }
                    if digits == 0 || digits > 19 {
                        wrong = Some((place, byte, "a number"));
                        break;
                    }
                    node[layout.slots[field]] = value;
                    (value, digits) = (0, 0);
                    field += 1;
                    if field == fields {
                        field = 0;
                        if !counts.add(&node, layout) {
                            wrong = Some((place, byte, "a node of a known kind"));
                            break;
                        }
                    }
                    if byte == b']' {
                        end = Some(place);
                        break;
                    }
                } else if !byte.is_ascii_whitespace() {
                    wrong = Some((place, byte, "a number"));
                    break;
                }
            }
            if let Some((place, byte, wanted)) = wrong {
                self.source.consume(place);
                return Err(self.unexpected(byte, wanted));
            }
            if let Some(place) = end {
                self.source.consume(place + 1);
                break 'all;
            }
            self.source.consume(length);
        }
        if field != 0 {
            return Err(self.malformed("the last node is not whole"));
        }
        if layout.count != 0 && layout.count != counts.nodes {
            return Err(self.malformed(format!("{} nodes where {} were announced", counts.nodes, layout.count)));
        }
        Ok(counts)
    }

    /// The strings that nodes are called by.
    fn names(&mut self, counts: &Counts) -> Result<HashMap<u64, String>, HeapError> {
        let mut wanted: Vec<u64> = counts.named.keys().map(|(_, name)| *name).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut names = HashMap::with_capacity(wanted.len());
        let mut next = wanted.iter().copied().peekable();
        self.expect(b'[', "before the strings")?;
        let mut number = 0_u64;
        let mut text = Vec::new();
        if self.source.peek_text()? == Some(b']') {
            self.source.consume(1);
        } else {
            loop {
                if next.peek() == Some(&number) {
                    next.next();
                    self.string(Some(&mut text), "in a string")?;
                    names.insert(number, unescaped(&text));
                } else {
                    self.string(None, "in a string")?;
                }
                number += 1;
                match self.token("in the strings")? {
                    b',' => {}
                    b']' => break,
                    other => return Err(self.unexpected(other, "`,` or `]`")),
                }
            }
        }
        match next.peek() {
            Some(name) => Err(self.malformed(format!("a node is called by string {name} of {number}"))),
            None => Ok(names),
        }
    }
}

impl Counts {
    fn add(&mut self, node: &[u64; 4], layout: &Layout) -> bool {
        let [kind, name, size, _] = *node;
        let Ok(kind) = usize::try_from(kind) else { return false };
        let amount = Amount { count: 1, bytes: i64::try_from(size).unwrap_or(i64::MAX) };
        self.nodes += 1;
        match layout.kinds.get(kind) {
            Some(Kind::Named(_)) => {
                if self.named.len() < NAMES_MAX || self.named.contains_key(&(kind, name)) {
                    self.named.entry((kind, name)).or_default().add(amount);
                } else {
                    self.others.add(amount);
                }
                true
            }
            Some(Kind::Together(_)) => {
                self.together[kind].add(amount);
                true
            }
            None => false,
        }
    }
}

/// A string as it was meant. V8 cuts long ones in the middle of a surrogate pair; such halves are replaced.
fn unescaped(text: &[u8]) -> String {
    let quoted = [b"\"", text, b"\""].concat();
    let name: String = serde_json::from_slice(&quoted).unwrap_or_else(|_| String::from_utf8_lossy(text).into_owned());
    if name.chars().nth(NAME_LENGTH_MAX).is_some() { name.chars().take(NAME_LENGTH_MAX).chain(['…']).collect() } else { name }
}
