//! What normal forms look like, and what else is noticed on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use expect_test::expect;
use homeostat_reflexes::sql::{Dialect, Fingerprint, Normaliser, Verb};

fn told(dialect: Dialect, statements: &[&str]) -> String {
    let mut normaliser = Normaliser::new();
    let mut text = String::new();
    for statement in statements {
        let seen = normaliser.normalise(statement, dialect);
        text += &format!("{}\n    {:?} {:?}\n", seen.normal, seen.verb, seen.shape);
    }
    text
}

#[test]
fn normal_forms_of_postgresql_read_like_sql() {
    let statements = [
        "SELECT \"Users\".id, count( * )FROM public.\"Users\" AS u WHERE (a,b) IN ((1,2),(3,4)) AND c=-1.5e-3::numeric(10,2) LIMIT 10 OFFSET 20;",
        "INSERT INTO t(a,b) VALUES ($1,now()),($2,now()) ON CONFLICT(a) DO UPDATE SET b=EXCLUDED.b RETURNING *",
        "SELECT data->>'k', tags ?| ARRAY['a','b'], a::text, b[1] FROM t WHERE NOT x IS NULL AND y = NULL FOR UPDATE SKIP LOCKED",
        "WITH x AS (SELECT 1) UPDATE t SET a = a -1, b = - 2 WHERE c = E'it\\'s' -- why",
        "SELECT 'a'\n'b', interval '1 day' * 2, $tag$x$tag$ FROM \"order\" ORDER BY 1 ASC, 2 DESC",
        "BEGIN; SELECT 1; COMMIT",
        "SELECT * FROM t WHERE name = 'cut off",
    ];
    expect![[r#"
        select "Users".id, count(*) from public."Users" as u where (a, b) in ((?)) and c = ? limit ? offset ?
            Select {"has_literals", "has_in_list", "has_collapsed_items", "has_from", "has_where", "has_limit", "has_offset"}
        insert into t(a, b) values (?, now()) on conflict(a) do update set b = excluded.b returning *
            Insert {"has_placeholders", "has_collapsed_items", "has_value_rows"}
        select data ->> ?, tags ?| array[?], a::text, b[?] from t where not x is null and y = ? for update skip locked
            Select {"has_literals", "has_collapsed_items", "has_from", "has_where", "has_locking"}
        with x as (select ?) update t set a = a - ?, b = ? where c = ?
            Update {"has_literals", "has_where"}
        select ?, interval ? * ?, ? from "order" order by ?, ? desc
            Select {"has_literals", "has_from"}
        begin; select ?; commit
            Transaction {"has_literals", "has_several_statements"}
        select * from t where name = ?
            Select {"has_literals", "has_from", "has_where", "is_unterminated"}
    "#]]
    .assert_eq(&told(Dialect::Postgresql, &statements));
}

#[test]
fn normal_forms_of_other_dialects_read_like_sql() {
    let mysql = [
        "SELECT `Id`, \"text\" FROM `Order` WHERE x = 'it\\'s' AND y=@v ORDER BY FIELD(id,1,2,3) LIMIT 5,10 # note",
        "insert into t value (1,2) on duplicate key update a=values(a)",
        "SELECT /*!40001 SQL_NO_CACHE */ * FROM 2fast WHERE a=5--3 LOCK IN SHARE MODE",
        "SET @a := 5",
    ];
    let sqlite = ["SELECT [a b], \"c\" FROM \"T\" WHERE x = \"text\" AND y = :y AND z = $z", "PRAGMA key = \"secret\""];
    let generic = [
        "SELECT TOP 10 [Id] FROM [dbo].[Users] WHERE Name = N'x' AND a = @p0",
        "SELECT * FROM t WHERE a = %(a)s AND b = %s AND c % 2 = 0 AND d = {d:UInt8} AND e = #{e}",
        "{\"find\":\"users\",\"filter\":{\"name\":\"Ana\",\"n\":{\"$in\":[1,2,3]}}}",
        "HSET user:17 name Ana",
        "SET user:17 Ana",
        "SET NAMES 'utf8'",
        "pg-pool.connect",
        "",
    ];
    let text = told(Dialect::Mysql, &mysql) + &told(Dialect::Sqlite, &sqlite) + &told(Dialect::Generic, &generic);
    expect![[r#"
        select id, ? from `order` where x = ? and y = @v order by field(id, ?) limit ?, ?
            Select {"has_literals", "has_collapsed_items", "has_from", "has_where", "has_limit", "has_offset"}
        insert into t values (?) on duplicate key update a = values (a)
            Insert {"has_literals", "has_collapsed_items"}
        select sql_no_cache * from 2fast where a = ? - ? lock in share mode
            Select {"has_literals", "has_from", "has_where", "has_locking"}
        set @a := ?
            Session {"has_literals"}
        select `a b`, c from t where x = ? and y = ? and z = ?
            Select {"has_literals", "has_placeholders", "has_from", "has_where"}
        pragma key = ?
            Session {"has_literals"}
        select top ? `Id` from dbo.`Users` where name = ? and a = ?
            Select {"has_literals", "has_placeholders", "has_from", "has_where", "has_limit"}
        select * from t where a = ? and b = ? and c % ? = ? and d = ? and e = ?
            Select {"has_literals", "has_placeholders", "has_from", "has_where"}
        {"find":"users","filter":{"name":?,"n":{"$in":[?]}}}
            Document {"has_literals", "has_collapsed_items", "is_not_sql"}
        hset ?
            KeyValue {"has_literals", "is_not_sql"}
        set ?
            KeyValue {"has_literals", "is_not_sql"}
        set names ?
            Session {"has_literals"}
        pg - pool.connect
            Connect {}

            Other {}
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_double_quoted_token_is_a_name_where_nothing_else_can_stand() {
    let statements = [
        "UPDATE t SET \"first name\" = \"Ann Lee\", \"last name\" = f(\"x y\", \"z z\" = 3) WHERE \"a b\" = \"c d\"",
        "UPDATE t SET a = (SELECT b FROM u WHERE c = 1), \"first name\" = 2 RETURNING d, \"e f\" = 3",
        "INSERT INTO \"my db\".\"t u\" (\"first name\", b, \"c d\") VALUES (\"x y\", \"z z\", 3) ON CONFLICT (b) DO UPDATE SET \"c d\" = excluded.\"c d\"",
        "REPLACE INTO t (\"first name\") SELECT \"a b\"",
        "CREATE TABLE IF NOT EXISTS t (\"first name\" text DEFAULT \"no one\", b int CHECK (\"x y\" > 3), PRIMARY KEY (\"first name\", b), FOREIGN KEY (\"c d\") REFERENCES u (\"e f\"))",
        "SELECT f(\"a b\", \"c d\"), \"e f\" FROM \"g h\" JOIN \"i j\".k WHERE l IN (\"m n\")",
        "SET \"a b\" = \"c d\"",
        "UPDATE t SET \"a\\\" = \"secret\" WHERE b = 1",
    ];
    let expected = expect![[r#"
        update t set `first name` = ?, `last name` = f(?, ? = ?) where ? = ?
            Update {"has_literals", "has_where"}
        update t set a = (select b from u where c = ?), `first name` = ? returning d, ? = ?
            Update {"has_literals", "has_from", "has_where"}
        insert into `my db`.`t u`(`first name`, b, `c d`) values (?) on conflict(b) do update set `c d` = excluded.`c d`
            Insert {"has_literals", "has_collapsed_items"}
        replace into t(`first name`) select ?
            Insert {"has_literals"}
        create table if not exists t(`first name` text default ?, b int check(? > ?), primary key(`first name`, b), foreign key(`c d`) references u(`e f`))
            Ddl {"has_literals"}
        select f(?, ?), ? from `g h` join `i j`.k where l in (?)
            Select {"has_literals", "has_in_list", "has_from", "has_where", "has_join", "has_single_keys"}
        set ? = ?
            Session {"has_literals"}
    "#]];
    let (last, others) = statements.split_last().unwrap();
    expected.assert_eq(&told(Dialect::Sqlite, others));
    // Where a backslash may escape, nobody knows where the token ends.
    assert!(!told(Dialect::Generic, &[last]).contains("secret"));
    for statement in others.iter().filter(|statement| !statement.starts_with("SET")) {
        assert_eq!(told(Dialect::Generic, &[statement]), told(Dialect::Sqlite, &[statement]));
    }
}

#[test]
fn what_may_be_a_text_is_none_that_is_shown() {
    let mut normaliser = Normaliser::new();
    for (statement, normal) in [
        (r#"create user "bob" identified by "hunter2pw""#, "create user ? identified by ?"),
        (r#"insert into audit select "4111111111111111" from t"#, "insert into audit select ? from t"),
        (
            r#"select concat("secret", a), if(a = "x", "secret", b) from t where match(a) against("secret")"#,
            "select concat(?, a), if(a = ?, ?, b) from t where match (a) against(?)",
        ),
        // Where columns stand and no function is called, names remain.
        (r#"select "a", "b" from "t" where "c" = 1 order by "d""#, "select a, b from t where c = ? order by d"),
    ] {
        assert_eq!(normaliser.normalise(statement, Dialect::Generic).normal, normal);
    }
    // SQLite's programs write names so.
    assert_eq!(normaliser.normalise(r#"select count("id") from "t""#, Dialect::Sqlite).normal, "select count(id) from t");
}

#[test]
fn a_byte_order_mark_between_tokens_is_white_space() {
    let mut normaliser = Normaliser::new();
    for dialect in [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite] {
        let marked = "\u{feff}SELECT\u{feff} a\u{feff}FROM t \u{feff} WHERE b\u{feff}=\u{feff}1\u{feff}AND c IN\u{feff}(2)\u{feff}";
        let plain = normaliser.normalise("SELECT a FROM t WHERE b = 1 AND c IN (2)", dialect).normal.to_owned();
        let seen = normaliser.normalise(marked, dialect);
        assert_eq!((seen.normal, seen.verb), (plain.as_str(), Verb::Select), "{dialect}");
        // Letters whose bytes begin alike are letters.
        assert_eq!(normaliser.normalise("SELECT ｎａｍｅ, ﬁ FROM Ｔ", dialect).normal, "select ｎａｍｅ, ﬁ from Ｔ", "{dialect}");
    }
    let mut generic = |statement: &str| normaliser.normalise(statement, Dialect::Generic).normal.to_owned();
    assert_eq!(generic("\u{feff}{\"find\": \"users\", \"x\": 1}"), "{\"find\":\"users\",\"x\":?}");
    assert_eq!(generic("\u{feff}SET user:17 Ana"), "set ?");
    // Inside quotes it is part of the name, and such a name keeps its quotes.
    assert_eq!(
        normaliser.normalise("SELECT \"a\u{feff}b\", \"ｃ\" FROM t", Dialect::Postgresql).normal,
        "select \"a\u{feff}b\", ｃ from t"
    );
}

#[test]
fn how_a_unicode_string_is_written_is_part_of_it() {
    for dialect in [Dialect::Postgresql, Dialect::Generic] {
        let mut normaliser = Normaliser::new();
        let mut seen = |statement: &str| {
            let seen = normaliser.normalise(statement, dialect);
            (seen.normal.to_owned(), seen.params)
        };
        let (normal, params) = seen("SELECT U&'d!0061t' UESCAPE '!' FROM t WHERE a = U&'x' uescape\n'#'::text AND b = 1");
        assert_eq!(normal, "select ? from t where a = ? and b = ?");
        assert_ne!(params, seen("SELECT U&'d!0061t' UESCAPE '?' FROM t WHERE a = U&'x' uescape '#' AND b = 1").1);
        assert_eq!(seen("SELECT U&'x' UESCAPE 'cut").0, "select ?");
        assert_eq!(seen("SELECT a AS uescape, uescape FROM t").0, "select a as uescape, uescape from t");
    }
}

#[test]
fn a_limit_of_null_is_noticed() {
    let mut normaliser = Normaliser::new();
    let mut noticed = |statement: &str| normaliser.normalise(statement, Dialect::Postgresql).shape.has_null_limit();
    assert!(noticed("SELECT a FROM t LIMIT NULL") && noticed("SELECT a FROM t LIMIT NULL OFFSET 5"));
    assert!(!noticed("SELECT a FROM t LIMIT 5 OFFSET NULL") && !noticed("SELECT a FROM (SELECT b FROM u LIMIT NULL) c LIMIT 5"));
    assert!(!noticed("SELECT NULL FROM t WHERE a IS NULL"));
}

#[test]
fn placeholders_leave_the_parameters_unknown() {
    let mut normaliser = Normaliser::with_key(1);
    let mut params = |statement: &str| normaliser.normalise(statement, Dialect::Postgresql).params;
    assert_eq!(params("SELECT * FROM t WHERE a = $1"), None);
    assert_eq!(params("SELECT * FROM t WHERE a = $1 LIMIT 21"), None);
    assert_eq!(params("SELECT now()"), None);
    assert!(params("SELECT 1").is_some());
    assert_ne!(params("SELECT 5"), params("SELECT -5"));
    assert_ne!(params("SELECT 'ab', 'c'"), params("SELECT 'a', 'bc'"));
}

#[test]
fn words_that_hide_behind_comments_or_quotes_are_read_the_same_twice() {
    // Each of these was once read differently the second time.
    let statements = [
        "+ set `t`",
        "set --x\na 'b' c",
        "set a.b != 5",
        "set/*! x */ y z",
        "{ limit:$_utf8'x'count( a. :n",
        "#\n[ a",
        "12ab == not. 0x1F",
        "for update . 1_0",
        ") asc get as",
        "select 1e- 1e ->",
        ". 1",
        ": ::int",
        "{${",
        "[default, 0x1F;",
    ];
    let mut normaliser = Normaliser::new();
    for statement in statements {
        for dialect in [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite] {
            let once = normaliser.normalise(statement, dialect).normal.to_owned();
            assert_eq!(normaliser.normalise(&once, dialect).normal, once, "{dialect}: {statement}");
        }
    }
}

#[test]
fn names_of_dialects_and_fingerprints_are_read_as_they_are_written() {
    for dialect in [Dialect::Generic, Dialect::Postgresql, Dialect::Mysql, Dialect::Sqlite] {
        assert_eq!(dialect.to_string().parse(), Ok(dialect));
        let json = serde_json::to_string(&dialect).unwrap();
        assert_eq!(json, format!("\"{dialect}\""));
        assert_eq!(serde_json::from_str::<Dialect>(&json).unwrap(), dialect);
    }
    assert_eq!(Dialect::from_system("PostgreSQL"), Dialect::Postgresql);
    assert_eq!(Dialect::from_system("mariadb"), Dialect::Mysql);
    assert_eq!(Dialect::from_system("oracle.db"), Dialect::Generic);
    assert!("oracle".parse::<Dialect>().is_err());
    let print = Fingerprint(0x0123);
    assert_eq!(print.to_string(), "0000000000000123");
    assert_eq!("0000000000000123".parse(), Ok(print));
    assert!("123".parse::<Fingerprint>().is_err() && "000000000000012G".parse::<Fingerprint>().is_err());
    assert_eq!(serde_json::to_string(&print).unwrap(), "\"0000000000000123\"");
    assert_eq!(serde_json::to_string(&Verb::KeyValue).unwrap(), "\"key_value\"");
}

#[test]
fn a_list_of_one_literal_is_told_from_longer_ones() {
    let mut normaliser = Normaliser::new();
    let mut single = |statement: &str| normaliser.normalise(statement, Dialect::Postgresql).shape.has_single_keys();
    for statement in [
        "select * from t where a in (7)",
        "select * from t where a in ( 'x' ) and b in (-7)",
        "select * from t where a = 5 and b not in (7::int) limit 1",
        "delete from t where a in (7)",
    ] {
        assert!(single(statement), "{statement}");
    }
    for statement in [
        "select * from t where a = 7",
        "select * from t where a in (7, 7)",
        "select * from t where a in (7) and b in (1, 2)",
        "select * from t where a in ($1)",
        "select * from t where a in (?)",
        "select * from t where a in (...)",
        "select * from t where a in (7, ...)",
        "select * from t where a in ()",
        "select * from t where a in (7) and b = $1",
        "select * from t where a in (b)",
        "select * from t where (a, b) in ((1, 2))",
        "select * from t where a in (select b from u limit 1)",
        "select * from t where a in (7",
        "insert into t values (7)",
    ] {
        assert!(!single(statement), "{statement}");
    }
}
