//! The promises of `homeostat_reflexes::sql`, held against canaries and generated statements.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use homeostat_reflexes::sql::{Dialect, Normaliser, summary, tables};
use proptest::prelude::*;
use serde_json::Value;

const DIALECTS: [Dialect; 4] = [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite];

/// Of letters and digits, so that it could also pass for a name.
const CANARY: &str = "kanari7Zq93vogel";

fn holds_part_of_canary(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let canary = CANARY.to_ascii_lowercase();
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    canary.as_bytes().windows(4).any(|part| text.contains(std::str::from_utf8(part).unwrap()))
        || hex.as_bytes().windows(8).any(|part| text.contains(std::str::from_utf8(part).unwrap()))
}

/// Canary statements with the dialects in which the marked text is a literal.
fn canaries() -> Vec<(String, Vec<Dialect>)> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("data/leak_canaries.json")).unwrap();
    let mut statements: Vec<(String, Vec<Dialect>)> = cases
        .iter()
        .map(|case| {
            let dialect = case["dialect"].as_str().unwrap().parse().unwrap();
            (case["sql"].as_str().unwrap().to_owned(), vec![dialect, Dialect::Generic])
        })
        .collect();
    let everywhere = [
        "SELECT * FROM u WHERE a = '{CANARY}' AND b = 'x''{CANARY}' -- {CANARY}",
        "SELECT * FROM u WHERE a LIKE '%{CANARY}%' /* {CANARY} */ LIMIT 5",
        "INSERT INTO u VALUES (1, '{CANARY}'), (2, N'{CANARY}'), (3, x'{CANARY_HEX}'), (4, 0x{CANARY_HEX})",
        "UPDATE u SET a = '{CANARY}', b = CASE WHEN c THEN '{CANARY}' ELSE '{CANARY}' END",
        "EXECUTE s('{CANARY}')",
        "COPY u FROM STDIN;\n1\t{CANARY}\n\\.",
        "GRANT ALL ON u TO b IDENTIFIED BY '{CANARY}'",
        "SELECT 1 /* unfinished {CANARY}",
    ];
    statements.extend(everywhere.map(|sql| (sql.to_owned(), DIALECTS.to_vec())));
    let mysql = [
        "SELECT * FROM u WHERE a = \"{CANARY}\" OR a IN (\"{CANARY}\", \"a\\\"{CANARY}\", \"a\"\"{CANARY}\")",
        "SELECT * FROM u WHERE a = 'x\\'{CANARY}' # {CANARY}",
        "SELECT 1 --\t{CANARY}\n, 2",
        "SELECT _utf8mb4'{CANARY}', _binary \"{CANARY}\"",
        "SET PASSWORD FOR 'u'@'h' = PASSWORD('{CANARY}')",
        "SELECT /*!50001 '{CANARY}' */ 1",
    ];
    statements.extend(mysql.map(|sql| (sql.to_owned(), vec![Dialect::Mysql, Dialect::Generic])));
    let sqlite = [
        "SELECT * FROM u WHERE a = \"{CANARY}\" OR a IN (\"{CANARY}\") OR b BETWEEN \"{CANARY}\" AND \"{CANARY}\"",
        "INSERT INTO u (\"a\", b) VALUES (\"{CANARY}\", 1)",
        "PRAGMA key = \"{CANARY}\"",
        "ATTACH DATABASE \"{CANARY}\" AS aux KEY \"{CANARY}\"",
    ];
    statements.extend(sqlite.map(|sql| (sql.to_owned(), vec![Dialect::Sqlite, Dialect::Generic])));
    let postgresql = [
        "SELECT $${CANARY}$$, $a$ $$ {CANARY} $b$ {CANARY} $a$, E'\\\\\\'{CANARY}', B'0101', U&'{CANARY}'",
        "SELECT 'a'\n  '{CANARY}'::text, '{CANARY}'::timestamp(3) with time zone, '{CANARY}'::\"Weird\"[]",
        "ALTER SYSTEM SET x TO '{CANARY}'",
        "SELECT /* /* {CANARY} */ {CANARY} */ 1",
    ];
    statements.extend(postgresql.map(|sql| (sql.to_owned(), vec![Dialect::Postgresql, Dialect::Generic])));
    let elsewhere = [
        "{\"filter\":{\"name\":\"{CANARY}\",\"n\":{\"$in\":[\"{CANARY}\",\"a\\\"{CANARY}\"]}},\"find\":\"users\"}",
        "{find: 'users', filter: {name: '{CANARY}'}}",
        "HSET user:{CANARY} name \"{CANARY}\"",
        "SET session:{CANARY} {CANARY} EX 60",
    ];
    statements.extend(elsewhere.map(|sql| (sql.to_owned(), vec![Dialect::Generic])));
    let hex: String = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    statements.into_iter().map(|(sql, dialects)| (sql.replace("{CANARY}", CANARY).replace("{CANARY_HEX}", &hex), dialects)).collect()
}

#[test]
fn no_part_of_a_literal_gets_out_wherever_the_statement_is_cut() {
    let mut normaliser = Normaliser::new();
    for (statement, dialects) in canaries() {
        for dialect in dialects {
            for end in (0..=statement.len()).filter(|end| statement.is_char_boundary(*end)) {
                let cut = &statement[..end];
                let seen = normaliser.normalise(cut, dialect);
                assert!(!holds_part_of_canary(seen.normal), "{dialect}: {cut}\n{}", seen.normal);
                assert!(!holds_part_of_canary(&summary(cut, dialect)), "{dialect}: {cut}\n{}", summary(cut, dialect));
                assert!(!tables(cut, dialect).iter().any(|table| holds_part_of_canary(table)), "{dialect}: {cut}");
            }
        }
    }
}

#[test]
fn cut_statements_are_normal_once_normalised() {
    for (statement, dialects) in canaries() {
        for dialect in dialects {
            for end in 0..=statement.len() {
                idempotent(&statement[..end], dialect).unwrap();
            }
        }
    }
}

fn idempotent(statement: &str, dialect: Dialect) -> Result<(), TestCaseError> {
    let mut normaliser = Normaliser::new();
    let once = normaliser.normalise(statement, dialect);
    let (text, print) = (once.normal.to_owned(), once.fingerprint);
    let twice = normaliser.normalise(&text, dialect);
    prop_assert_eq!(twice.normal, &text, "{} of {:?}", dialect, statement);
    prop_assert_eq!(twice.fingerprint, print);
    prop_assert_eq!(twice.params, None, "a normal form has no literals: {} of {:?}", text, statement);
    Ok(())
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(DIALECTS.to_vec())
}

/// Pieces of SQL that mean something to the lexer, in any order.
fn fragments() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "select",
        "SELECT",
        "from",
        "where",
        "a",
        "t",
        "\"T\"",
        "\"t\"",
        "`T`",
        "`t`",
        "[T]",
        "[t x]",
        "[copy]",
        "\"select\"",
        "`get`",
        "'x'",
        "'x",
        "\"x",
        "E'\\''",
        "N'x'",
        "x'1f'",
        "_utf8'x'",
        "$$x$$",
        "$a$x$a$",
        "$1",
        "$n",
        ":n",
        ":1",
        "@p1",
        "@v",
        "@@s.v",
        "?",
        "?1",
        "?|",
        "?&",
        "??",
        "%s",
        "%(a)s",
        "%",
        "{a}",
        "{a:Int}",
        "#{a}",
        "${a}",
        "{",
        "}",
        "#",
        "# x\n",
        "-- x\n",
        "--x\n",
        "--",
        "-",
        "+",
        "*",
        "/",
        "/*",
        "*/",
        "/* x */",
        "/*! x */",
        "/*!40001",
        "/*+ h */",
        "1",
        "1.5",
        ".5",
        "5.",
        "1e5",
        "1e-5",
        "0x1F",
        "0b1",
        "1_0",
        "12ab",
        "(",
        ")",
        "[",
        "]",
        ",",
        ".",
        ";",
        ":",
        "::",
        "::int",
        "::varchar(5)",
        "::timestamp with time zone",
        ":=",
        "=",
        "==",
        "!=",
        "<>",
        "<=",
        "->",
        "->>",
        "#>",
        "@>",
        "<@",
        "||",
        "|",
        "&&",
        "in",
        "in (",
        "values",
        "values (",
        "value (",
        "insert into",
        "array",
        "array[",
        "field(",
        "null",
        "is",
        "not",
        "true",
        "default",
        "asc",
        "desc",
        "between",
        "and",
        "limit",
        "offset",
        "top",
        "as",
        "by",
        "order by",
        "with",
        "end",
        "for update",
        "\n",
        "\t",
        "  ",
        "é",
        "\u{0}",
        "\u{7f}",
        "copy",
        "set",
        "get",
        "\\",
        "\\'",
        "''",
        "\"\"",
        "``",
        "[]",
        "union",
        "interval",
        "left(",
        "count(",
        "1..2",
        "t.1",
        ".a",
        "a.",
        "$",
        "@",
        "e",
        "u&'x'",
        "u&",
        "!",
        "~",
        "^",
        "|/",
    ];
    prop::collection::vec((prop::sample::select(PIECES), prop::bool::ANY), 0..24)
        .prop_map(|pieces| pieces.iter().map(|(piece, space)| format!("{piece}{}", if *space { " " } else { "" })).collect())
}

/// A literal of any kind in a dialect, as it may stand in an expression.
fn literal(dialect: Dialect) -> BoxedStrategy<String> {
    let body = "[a-zA-Z0-9 _.,;:(){}?$%@#*/=<>|&!~é世-]{0,12}";
    let doubled = body.prop_map(|body: String| format!("'{}''{body}'", body.chars().rev().collect::<String>()));
    let plain = body.prop_map(|body: String| format!("'{body}'"));
    let number = prop_oneof![
        any::<i32>().prop_map(|n| n.to_string()),
        any::<u32>().prop_map(|n| format!("0x{n:X}")),
        (0u32..1_000_000, 0u32..1000).prop_map(|(a, b)| format!("{a}.{b}")),
        (0u32..1000, -30i32..30).prop_map(|(a, b)| format!("{a}e{b}")),
        (0u32..1000).prop_map(|a| format!(".{a}")),
        (0u32..1000).prop_map(|a| format!("+{a}.")),
        Just("x'1fAB'".to_owned()),
        Just("NULL".to_owned()),
        Just("True".to_owned()),
        Just("?".to_owned()),
    ];
    let own = match dialect {
        Dialect::Postgresql => prop_oneof![
            body.prop_map(|body: String| format!("$${}$$", body.replace('$', ""))),
            body.prop_map(|body: String| format!("$t${}$t$", body.replace('$', ""))),
            body.prop_map(|body: String| format!("E'\\'{body}\\\\'")),
            body.prop_map(|body: String| format!("'{body}\\'")),
            body.prop_map(|body: String| format!("'{body}'::character varying(20)")),
            body.prop_map(|body: String| format!("'{body}'::pg_catalog.timestamp(3) with time zone")),
            (1u8..99).prop_map(|n| format!("${n}::int[]")),
            Just("1_000_000".to_owned()),
        ]
        .boxed(),
        Dialect::Mysql => prop_oneof![
            body.prop_map(|body: String| format!("\"{body}\"")),
            body.prop_map(|body: String| format!("'\\'{body}\\\\'")),
            body.prop_map(|body: String| format!("_utf8mb4'{body}'")),
            body.prop_map(|body: String| format!("N'{body}'")),
            body.prop_map(|body: String| format!("'{body}' '{body}'")),
            Just("b'0101'".to_owned()),
        ]
        .boxed(),
        Dialect::Sqlite => prop_oneof![
            body.prop_map(|body: String| format!("'{body}\\'")),
            body.prop_map(|body: String| format!("\" {}\"", body.replace('.', ""))),
            Just(":name".to_owned()),
            Just("@name".to_owned()),
            Just("$name".to_owned()),
            (1u8..99).prop_map(|n| format!("?{n}")),
        ]
        .boxed(),
        Dialect::Generic => prop_oneof![
            Just("%s".to_owned()),
            Just("%(name)s".to_owned()),
            Just(":name".to_owned()),
            Just("@p1".to_owned()),
            Just("#{name}".to_owned()),
            Just("{name:UInt8}".to_owned()),
            Just("$1".to_owned()),
        ]
        .boxed(),
    };
    prop_oneof![3 => plain, 1 => doubled, 3 => number, 3 => own].boxed()
}

/// Templates in which every `{}` is a value and every `{,}` a list of values.
const TEMPLATES: &[&str] = &[
    "SELECT * FROM t WHERE a = {} AND b > {} OR c IN ({,}) ORDER BY d ASC LIMIT {}",
    "SELECT a, {}, b FROM t WHERE x BETWEEN {} AND {} AND (y, z) IN (({}, {}), ({}, {}))",
    "INSERT INTO t (a, b, c) VALUES ({,}), ({,})",
    "INSERT INTO t (a, b) VALUES ({,}) ON CONFLICT (a) DO UPDATE SET b = {}",
    "UPDATE t SET a = {}, b = b + {}, c = coalesce({}, c) WHERE id = {}",
    "DELETE FROM t WHERE a < {} OR f(a, {}) = - {} OR NOT b = {}",
    "SELECT CASE WHEN a = {} THEN {} ELSE {} END FROM t WHERE b LIKE {} OR c NOT IN ({,})",
    "CALL f({}, {})",
    "SELECT * FROM t WHERE a={} AND b=({})AND(c)={}",
];

fn filled(template: &'static str, dialect: Dialect) -> BoxedStrategy<String> {
    let holes = template.matches('{').count();
    let values = prop::collection::vec(prop::collection::vec(literal(dialect), 1..5), holes);
    values
        .prop_map(move |values| {
            let mut statement = String::new();
            let mut values = values.iter();
            let mut rest = template;
            while let Some(at) = rest.find('{') {
                statement.push_str(&rest[..at]);
                let value = values.next().unwrap();
                if rest[at..].starts_with("{,}") {
                    statement.push_str(&value.join(", "));
                    rest = &rest[at + 3..];
                } else {
                    statement.push_str(&value[0]);
                    rest = &rest[at + 2..];
                }
            }
            statement + rest
        })
        .boxed()
}

fn same_template_twice() -> impl Strategy<Value = (Dialect, String, String)> {
    (dialects(), prop::sample::select(TEMPLATES))
        .prop_flat_map(|(dialect, template)| (Just(dialect), filled(template, dialect), filled(template, dialect)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn literals_do_not_split_a_shape((dialect, a, b) in same_template_twice()) {
        let mut normaliser = Normaliser::new();
        let first = normaliser.normalise(&a, dialect).normal.to_owned();
        let second = normaliser.normalise(&b, dialect);
        prop_assert_eq!(&first, second.normal, "{}: {:?} / {:?}", dialect, a, b);
    }

    #[test]
    fn templates_are_normal_once_normalised((dialect, a, _) in same_template_twice()) {
        idempotent(&a, dialect)?;
    }

    #[test]
    fn fragments_are_normal_once_normalised(statement in fragments(), dialect in dialects()) {
        idempotent(&statement, dialect)?;
    }

    #[test]
    fn any_text_is_normal_once_normalised(statement in "\\PC{0,80}", dialect in dialects()) {
        idempotent(&statement, dialect)?;
    }

    #[test]
    fn any_bytes_are_read_to_the_end(bytes in prop::collection::vec(any::<u8>(), 0..200), dialect in dialects()) {
        let statement = String::from_utf8_lossy(&bytes);
        idempotent(&statement, dialect)?;
        let _ = (summary(&statement, dialect), tables(&statement, dialect));
    }

    #[test]
    fn the_same_literals_have_the_same_hash_and_others_another(
        a in "[a-z0-9]{1,20}", b in "[a-z0-9]{1,20}", n in any::<u32>(), dialect in dialects(),
    ) {
        let mut normaliser = Normaliser::with_key(7);
        let mut hash = |statement: String| normaliser.normalise(&statement, dialect).params;
        let one = hash(format!("SELECT * FROM t WHERE a = '{a}' AND n = {n}"));
        let same = hash(format!("select * from t where a='{a}' and n={n} -- again"));
        let other = hash(format!("SELECT * FROM t WHERE a = '{b}' AND n = {n}"));
        prop_assert!(one.is_some());
        prop_assert_eq!(one, same);
        prop_assert_eq!(one == other, a == b);
        let keyed = Normaliser::with_key(8).normalise(&format!("SELECT * FROM t WHERE a = '{a}' AND n = {n}"), dialect).params;
        prop_assert_ne!(one, keyed);
    }
}

#[test]
fn long_and_deep_statements_take_linear_time_and_bounded_memory() {
    let mut normaliser = Normaliser::new();
    for dialect in DIALECTS {
        let list = format!("SELECT * FROM t WHERE a IN ({})", "'x', ".repeat(200_000));
        assert!(normaliser.normalise(&list, dialect).normal.len() < 64);
        for piece in ["(", "[", "{", "$a$", "/*", "-", "--\n", "'", "\\", "((a,", "values (1),", "in ((1,2),", "::int(", "{\"a\":["] {
            let statement = piece.repeat(1_000_000 / piece.len());
            idempotent(&statement, dialect).unwrap();
        }
    }
}
