//! The promises of [`Templates`]: what is found is what the normaliser would have said, and no literal is kept.
#![allow(clippy::unwrap_used, missing_docs)]

use homeostat_reflexes::sql::{Dialect, Fingerprint, Normaliser, Templates};
use proptest::prelude::*;

fn fingerprint(statement: &str, dialect: Dialect) -> Fingerprint {
    Normaliser::new().normalise(statement, dialect).fingerprint
}

fn learn(templates: &mut Templates, statement: &str, dialect: Dialect, number: u32) {
    templates.learn(statement, fingerprint(statement, dialect), number, &mut Normaliser::new());
}

/// Whether `other` is found once `statement` is known.
fn leads(dialect: Dialect, statement: &str, other: &str) -> bool {
    let mut templates = Templates::new(dialect);
    learn(&mut templates, statement, dialect, 7);
    templates.find(other).is_some()
}

#[test]
fn a_statement_is_found_by_the_text_between_its_literals() {
    let known = [
        "select * from t where a = 5 and b in (1, 2)",
        "select * from t where a = 5 and b in (1)",
        "select * from t where a = 'x' and b in (1, 2)",
        "select * from t where a = 1.5",
        "select * from t where a = -1",
        "select * from t where a = $1",
        "select * from t2 where c is null",
        "select * from t",
    ];
    let mut templates = Templates::new(Dialect::Postgresql);
    for (number, statement) in (0..).zip(known) {
        assert_eq!(templates.find(statement), None, "{statement}");
        learn(&mut templates, statement, Dialect::Postgresql, number);
    }
    let same = [
        "select * from t where a = 77 and b in (3, 4)",
        "select * from t where a = 0 and b in (123456)",
        "select * from t where a = 'o t''her' and b in (1, 2)",
        "select * from t where a = 99.25",
        "select * from t where a = -88",
        "select * from t where a = $1",
        "select * from t2 where c is null",
        "select * from t",
    ];
    let found: Vec<_> = same.iter().map(|statement| templates.find(statement)).collect();
    assert_eq!(found, [Some(0), Some(1), None, Some(3), Some(4), Some(5), Some(6), Some(7)]);
    for other in [
        "",
        "select",
        "select * from t ",
        "select * from t where a = 1",
        "select * from t where a = 1.5e3",
        "select * from t1 where c is null",
    ] {
        assert_eq!(templates.find(other), None, "{other}");
    }
}

#[test]
fn what_hides_text_is_not_learnt() {
    use Dialect::{Generic, Mysql, Postgresql, Sqlite};
    for (dialect, statement) in [
        (Postgresql, "select 1 -- secret"),
        (Postgresql, "select 1 /* secret */"),
        (Postgresql, "select $$ secret $$, 1"),
        (Postgresql, "copy t from stdin; secret 1"),
        (Postgresql, "select \"secret 1"),
        (Postgresql, "select U&'a 1' uescape '!'"),
        (Postgresql, "select 'a'\n'b'"),
        (Postgresql, "select E'\\'secret 1'"),
        (Postgresql, "select 'secret"),
        (Postgresql, "select \"a 1\" from t"),
        (Mysql, "select 1 # secret"),
        (Mysql, "select `secret 1"),
        (Mysql, "select 'a' 'b'"),
        (Mysql, "select _utf8mb4 'secret'"),
        (Mysql, "select 1abc, 2 from t"),
        (Mysql, "select \"it's"),
        (Sqlite, "select [a 1"),
        (Generic, "set secret 1"),
    ] {
        assert!(!leads(dialect, statement, statement), "{statement}");
    }
}

#[test]
fn it_stays_small_whatever_comes() {
    let mut templates = Templates::new(Dialect::Mysql);
    let mut statement = String::new();
    for n in 0..100_000u32 {
        statement = format!("select a{n} from t where b = 1 and c = {}", "d".repeat(40));
        if templates.find(&statement).is_none() {
            learn(&mut templates, &statement, Dialect::Mysql, n);
        }
        for _ in 0..16 {
            templates.find(&statement);
        }
    }
    assert_eq!(templates.find(&statement), Some(99_999));
    assert_eq!(templates.find("select a1 from t where b = 1 and c = d"), None);

    let long = format!("select a from t where b in ({}2)", "1, ".repeat(10_000));
    learn(&mut templates, &long, Dialect::Mysql, 1);
    assert_eq!(templates.find(&long), None);
}

/// What statements are made of, and what is made to be misread. `N` is a number, `S` the inside of a string.
const FRAGMENTS: [&str; 64] = [
    "select ",
    "from ",
    "t",
    "where ",
    "a",
    " = ",
    "N",
    "N",
    "N.N",
    "'S'",
    "'S'",
    "\"S\"",
    ", ",
    ",",
    "(",
    ")",
    "in (N, N)",
    "in (",
    "values (N, 'S')",
    ", (N, 'S')",
    " and ",
    "between N and N",
    "limit N",
    "limit N, N",
    "offset N",
    " ",
    "\n",
    "-",
    "- ",
    "+",
    "*",
    "/",
    "::numeric(N)",
    "::numeric(N, N)",
    "::text",
    "::",
    "[N]",
    "[N:N]",
    "array[N, N]",
    "{a, N}",
    "{a: N}",
    "%(N)s",
    "%s",
    "?",
    "$N",
    "$1",
    ":N",
    "@N",
    "$$",
    "$a$",
    "\"",
    "'",
    "`",
    "`a N`",
    "/*",
    "*/",
    "--",
    "#",
    ";",
    "E'S'",
    "_utf8 'S'",
    "0x",
    "e",
    "null",
];

/// A statement of these fragments, with these literals.
fn statement(fragments: &[usize], mut numbers: impl Iterator<Item = u32>, mut strings: impl Iterator<Item = String>) -> String {
    let mut text = String::new();
    for letter in fragments.iter().flat_map(|at| FRAGMENTS[at % FRAGMENTS.len()].chars()) {
        match letter {
            'N' => text.push_str(&numbers.next().unwrap_or_default().to_string()),
            'S' => text.push_str(&strings.next().unwrap_or_default()),
            other => text.push(other),
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_096))]

    #[test]
    fn what_is_found_has_the_fingerprint_it_was_learnt_with(
        fragments in prop::collection::vec(0usize..64, 1..14),
        numbers in prop::collection::vec(prop_oneof![0u32..20, any::<u32>()], 40),
        strings in prop::collection::vec("[a-z0-9 .?$%(){}\\[\\]\"`/*#;:-]{0,8}", 40),
        postgresql: bool,
    ) {
        let dialect = if postgresql { Dialect::Postgresql } else { Dialect::Mysql };
        let of = |turn: usize| {
            statement(&fragments, numbers.iter().copied().cycle().skip(turn), strings.iter().cloned().cycle().skip(turn))
        };
        let mut templates = Templates::new(dialect);
        let first = of(0);
        learn(&mut templates, &first, dialect, 7);
        for turn in 1..8 {
            let other = of(turn);
            if templates.find(&other).is_some() {
                prop_assert_eq!(fingerprint(&other, dialect), fingerprint(&first, dialect), "{:?} {:?}", first, other);
            }
        }
    }

    #[test]
    fn any_number_of_statements_keep_their_numbers(
        statements in prop::collection::vec((prop::collection::vec(0usize..26, 1..8), any::<u32>()), 1..60),
    ) {
        let mut templates = Templates::new(Dialect::Mysql);
        let mut normaliser = Normaliser::new();
        let mut known = Vec::new();
        for (fragments, seed) in &statements {
            let text = statement(fragments, std::iter::repeat(*seed), std::iter::repeat(seed.to_string()));
            let fingerprint = fingerprint(&text, Dialect::Mysql);
            let number = known.iter().position(|other| *other == fingerprint).unwrap_or(known.len());
            if number == known.len() {
                known.push(fingerprint);
            }
            if let Some(found) = templates.find(&text) {
                prop_assert_eq!(found as usize, number, "{}", text);
            }
            templates.learn(&text, fingerprint, u32::try_from(number).unwrap(), &mut normaliser);
        }
    }
}
