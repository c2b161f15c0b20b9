//! What else the lexer noticed about a statement on its one way through it.

/// Facts about a statement that cost nothing to notice while lexing, as a set of flags.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Shape(u16);

macro_rules! flags {
    ($($bit:literal $constant:ident $name:ident $doc:literal;)*) => {
        impl Shape {
            $(pub(super) const $constant: Self = Self(1 << $bit);)*
            $(
                #[doc = $doc]
                #[must_use]
                pub const fn $name(self) -> bool {
                    self.0 & Self::$constant.0 != 0
                }
            )*
        }
        impl std::fmt::Debug for Shape {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_set()$(.entries(self.$name().then_some(stringify!($name))))*.finish()
            }
        }
    };
}

flags! {
    0 LITERALS has_literals "Literals were replaced.";
    1 PLACEHOLDERS has_placeholders "It has placeholders (`?`, `$1`, `:name`, `%s`, …), so its parameters are not in its text.";
    2 IN_LIST has_in_list "It has an `IN (…)` over values rather than over a subquery.";
    3 COLLAPSED has_collapsed_items "Equal neighbours inside `IN`, `VALUES` or `ARRAY` were collapsed: it handles many rows at once.";
    4 ROWS has_value_rows "It has more than one row of `VALUES`: a bulk write.";
    5 FROM has_from "It reads from a table: it has `FROM`.";
    6 WHERE has_where "It has `WHERE`.";
    7 LIMIT has_limit "It bounds its result: `LIMIT`, `FETCH FIRST` or `TOP`.";
    8 OFFSET has_offset "It skips rows: `OFFSET` or `LIMIT a, b`. One of a series of pages.";
    9 LOCKING has_locking "It locks what it reads: `FOR UPDATE`, `FOR SHARE`, `LOCK IN SHARE MODE`.";
    10 JOIN has_join "It has `JOIN`.";
    11 SEVERAL has_several_statements "It has more than one statement.";
    12 UNTERMINATED is_unterminated "A quoted token or comment never ended: the statement was cut.";
    13 NOT_SQL is_not_sql "It is no SQL: a JSON command or a key-value command.";
    14 NULL_LIMIT has_null_limit "Its outermost `LIMIT` is `NULL`, which in PostgreSQL is none; the normal form does not tell.";
    15 SINGLE_KEYS has_single_keys "It has `IN (…)`, and each is seen to hold one literal. Lists collapse, so this is of the text, not of its normal form.";
}

impl Shape {
    #[inline]
    pub(super) fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
