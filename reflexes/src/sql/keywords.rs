//! The words that change how the lexer reads what follows. Everything else is a name.
//!
//! A word is looked up once, as two machine words: a small open-addressed table built at compile time, so that a
//! name (the usual case) costs one load and one comparison.

/// What a word means to the lexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Keyword {
    /// No keyword: a name, a function, a type.
    Name,
    /// An expression or a list follows; nothing else is special.
    Plain,
    /// A condition follows, in which a double-quoted token may be a column.
    Condition,
    /// A table or another named thing follows.
    Naming,
    /// Ends an expression although it is reserved (`END`, `CURRENT_DATE`).
    Value,
    /// A comparison by word: a value follows.
    Comparison,
    Select,
    Distinct,
    By,
    From,
    Join,
    Into,
    Insert,
    Update,
    Delete,
    Merge,
    Set,
    In,
    Values,
    ValueSynonym,
    Array,
    Field,
    Null,
    Boolean,
    Default,
    Asc,
    Is,
    Not,
    And,
    Between,
    Where,
    Limit,
    Offset,
    Top,
    For,
    Lock,
    Share,
    Returning,
    Uescape,
}

const WORDS: &[(&str, Keyword)] = &[
    ("all", Keyword::Plain),
    ("any", Keyword::Plain),
    ("some", Keyword::Plain),
    ("union", Keyword::Plain),
    ("intersect", Keyword::Plain),
    ("except", Keyword::Plain),
    ("minus", Keyword::Plain),
    ("with", Keyword::Plain),
    ("over", Keyword::Plain),
    ("filter", Keyword::Plain),
    ("within", Keyword::Plain),
    ("group", Keyword::Plain),
    ("order", Keyword::Plain),
    ("partition", Keyword::Plain),
    ("interval", Keyword::Plain),
    ("then", Keyword::Plain),
    ("else", Keyword::Plain),
    ("escape", Keyword::Plain),
    ("uescape", Keyword::Uescape),
    ("div", Keyword::Plain),
    ("return", Keyword::Plain),
    ("call", Keyword::Plain),
    ("inner", Keyword::Plain),
    ("outer", Keyword::Plain),
    ("cross", Keyword::Plain),
    ("natural", Keyword::Plain),
    ("full", Keyword::Plain),
    ("desc", Keyword::Plain),
    ("lateral", Keyword::Plain),
    ("case", Keyword::Condition),
    ("when", Keyword::Condition),
    ("or", Keyword::Condition),
    ("on", Keyword::Condition),
    ("having", Keyword::Condition),
    ("exists", Keyword::Naming),
    ("returning", Keyword::Returning),
    ("as", Keyword::Naming),
    ("table", Keyword::Naming),
    ("using", Keyword::Naming),
    ("references", Keyword::Naming),
    ("constraint", Keyword::Naming),
    ("end", Keyword::Value),
    ("current_date", Keyword::Value),
    ("current_time", Keyword::Value),
    ("current_user", Keyword::Value),
    ("session_user", Keyword::Value),
    ("localtime", Keyword::Value),
    ("localtimestamp", Keyword::Value),
    ("user", Keyword::Value),
    ("like", Keyword::Comparison),
    ("ilike", Keyword::Comparison),
    ("rlike", Keyword::Comparison),
    ("regexp", Keyword::Comparison),
    ("glob", Keyword::Comparison),
    ("match", Keyword::Comparison),
    ("similar", Keyword::Comparison),
    ("select", Keyword::Select),
    ("distinct", Keyword::Distinct),
    ("by", Keyword::By),
    ("from", Keyword::From),
    ("join", Keyword::Join),
    ("into", Keyword::Into),
    ("insert", Keyword::Insert),
    ("update", Keyword::Update),
    ("delete", Keyword::Delete),
    ("merge", Keyword::Merge),
    ("set", Keyword::Set),
    ("in", Keyword::In),
    ("values", Keyword::Values),
    ("value", Keyword::ValueSynonym),
    ("array", Keyword::Array),
    ("field", Keyword::Field),
    ("null", Keyword::Null),
    ("true", Keyword::Boolean),
    ("false", Keyword::Boolean),
    ("default", Keyword::Default),
    ("asc", Keyword::Asc),
    ("is", Keyword::Is),
    ("not", Keyword::Not),
    ("and", Keyword::And),
    ("between", Keyword::Between),
    ("where", Keyword::Where),
    ("limit", Keyword::Limit),
    ("fetch", Keyword::Limit),
    ("offset", Keyword::Offset),
    ("top", Keyword::Top),
    ("for", Keyword::For),
    ("lock", Keyword::Lock),
    ("share", Keyword::Share),
];

/// A power of two, about a quarter full.
const SLOTS: usize = 512;
/// Sets the bit that tells upper from lower case. `_` and digits stay unique under it.
const FOLD: u128 = 0x2020_2020_2020_2020_2020_2020_2020_2020;

const fn slot(key: u128) -> usize {
    let mixed = (key as u64 ^ ((key >> 64) as u64).rotate_left(29)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> (64 - SLOTS.trailing_zeros())) as usize
}

const fn key_of(word: &[u8]) -> u128 {
    let mut key = 0u128;
    let mut at = 0;
    while at < word.len() && at < 16 {
        key |= ((word[at] | 0x20) as u128) << (8 * at);
        at += 1;
    }
    key
}

static TABLE: [(u128, Keyword); SLOTS] = {
    let mut table = [(0u128, Keyword::Name); SLOTS];
    let mut at = 0;
    while at < WORDS.len() {
        let key = key_of(WORDS[at].0.as_bytes());
        let mut place = slot(key);
        while table[place].0 != 0 {
            place = (place + 1) % SLOTS;
        }
        table[place] = (key, WORDS[at].1);
        at += 1;
    }
    table
};

#[inline]
fn find(key: u128) -> Keyword {
    let mut place = slot(key);
    loop {
        let (entry, keyword) = TABLE[place % SLOTS];
        if entry == key || entry == 0 {
            return keyword;
        }
        place += 1;
    }
}

/// Looks up the word of `len` bytes at the start of a 16-byte window; the bytes behind it do not matter.
#[inline]
pub(super) fn keyword_in(window: u128, len: usize) -> Keyword {
    if !(2..=16).contains(&len) {
        return Keyword::Name;
    }
    find((window | FOLD) & (u128::MAX >> (128 - 8 * len)))
}

/// Looks up a word.
pub(super) fn keyword(word: &[u8]) -> Keyword {
    if !(2..=16).contains(&word.len()) { Keyword::Name } else { find(key_of(word)) }
}
