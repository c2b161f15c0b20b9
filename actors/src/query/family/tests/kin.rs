//! Which statements are kin, and which only look like it.

use super::*;

#[test]
fn one_meaning_in_two_spellings_is_one_family() {
    let pairs = [
        ("SELECT * FROM a JOIN b ON a.id = b.a_id", "SELECT * FROM a INNER JOIN b ON b.a_id = a.id"),
        ("SELECT * FROM a x LEFT OUTER JOIN b y ON x.id = y.a_id", "SELECT * FROM a AS p LEFT JOIN b AS q ON p.id = q.a_id"),
        ("SELECT * FROM t WHERE 5 < a AND b = 1", "SELECT * FROM t WHERE b = 2 AND (a > 3)"),
        ("SELECT * FROM t WHERE a = 1 AND (b = 2 OR c = 3)", "SELECT * FROM t WHERE ((c = 9 OR b = 8) AND a = 7)"),
        ("SELECT * FROM t WHERE a = ANY(ARRAY[1, 2])", "SELECT * FROM t WHERE a IN (1)"),
        ("SELECT * FROM t WHERE a <> ALL('{1,2}'::int[])", "SELECT * FROM t WHERE a NOT IN (1)"),
        ("SELECT users.id FROM users", "SELECT id FROM users"),
        ("SELECT count(*) AS n FROM t GROUP BY a, b ORDER BY n", "SELECT count(*) c FROM t GROUP BY b, a ORDER BY c"),
        ("SELECT a::text FROM t", "SELECT CAST(a AS text) FROM t"),
        ("UPDATE t SET a = 1, b = 2 WHERE id = 3", "UPDATE t SET b = 1, a = 2 WHERE id = 3"),
        ("SELECT * FROM logs_2021_03_01 l WHERE l.x = 1", "SELECT * FROM logs_2022_12_31 WHERE logs_2022_12_31.x = 1"),
        ("PREPARE a AS SELECT x, y FROM t", "PREPARE b AS SELECT y, x FROM t"),
        ("DECLARE a CURSOR FOR SELECT x, y FROM t", "DECLARE b CURSOR FOR SELECT y, x FROM t"),
        ("EXECUTE a(1)", "EXECUTE b(2, 3)"),
        ("SELECT a FROM t UNION ALL SELECT a FROM u", "SELECT a FROM u UNION ALL SELECT a FROM t"),
        ("SELECT * FROM (SELECT a FROM t) x WHERE x.a = 1", "SELECT * FROM (SELECT a FROM t) AS y WHERE y.a = 2"),
        ("SELECT a FROM t LIMIT ALL", "SELECT a FROM t"),
    ];
    for (a, b) in pairs {
        assert!(analysed(a, Dialect::Postgresql).parsed || a.starts_with("EXECUTE"), "{a}");
        assert_eq!(family(a), family(b), "{a} | {b}");
    }
}

#[test]
fn another_meaning_is_another_family() {
    let pairs = [
        ("SELECT a FROM t ORDER BY a, b", "SELECT a FROM t ORDER BY b, a"),
        ("SELECT * FROM t WHERE a = 1 AND b = 2", "SELECT * FROM t WHERE a = 1 OR b = 2"),
        ("SELECT * FROM t WHERE a = 1 AND (b = 2 OR c = 3)", "SELECT * FROM t WHERE (a = 1 AND b = 2) OR c = 3"),
        ("SELECT * FROM t WHERE a < 1", "SELECT * FROM t WHERE a > 1"),
        ("SELECT * FROM t WHERE a IN (1)", "SELECT * FROM t WHERE a NOT IN (1)"),
        ("SELECT * FROM a LEFT JOIN b USING (id)", "SELECT * FROM b LEFT JOIN a USING (id)"),
        ("SELECT a FROM t UNION SELECT a FROM u", "SELECT a FROM t UNION ALL SELECT a FROM u"),
        ("SELECT 1 UNION SELECT 2", "SELECT 1"),
        ("SELECT a FROM t EXCEPT SELECT a FROM u", "SELECT a FROM u EXCEPT SELECT a FROM t"),
        ("SELECT * FROM t_1", "SELECT * FROM t_2"),
        ("SELECT (a + b) * c FROM t", "SELECT a + b * c FROM t"),
        ("SELECT a - b FROM t", "SELECT b - a FROM t"),
        ("SELECT a.x FROM t a JOIN t b ON a.id = b.p", "SELECT b.x FROM t a JOIN t b ON a.id = b.p"),
        ("SELECT * FROM t WHERE NOT (a = 1 AND b = 2)", "SELECT * FROM t WHERE NOT (a = 1) AND b = 2"),
        ("SELECT * FROM (SELECT a AS x, b AS y FROM t) s WHERE s.x = 1", "SELECT * FROM (SELECT a AS y, b AS x FROM t) s WHERE s.x = 1"),
        ("SELECT * FROM t WHERE (a = b) IS NULL", "SELECT * FROM t WHERE a = (b IS NULL)"),
        ("SELECT -(a + b) FROM t", "SELECT -a + b FROM t"),
        ("SELECT a - (b - c) FROM t", "SELECT a - b - c FROM t"),
        ("SELECT (a + b)::text FROM t", "SELECT a + b::text FROM t"),
        ("SELECT * FROM t WHERE (NOT a) = b", "SELECT * FROM t WHERE NOT a = b"),
    ];
    for (a, b) in pairs {
        assert!(analysed(a, Dialect::Postgresql).parsed, "{a}");
        assert_ne!(family(a), family(b), "{a} | {b}");
    }
}

#[test]
fn brackets_that_change_nothing_make_no_stranger() {
    let pairs = [
        ("SELECT a FROM t WHERE (a = 1)", "SELECT a FROM t WHERE a = 1"),
        ("SELECT a FROM t WHERE ((a > 1))", "SELECT a FROM t WHERE a > 1"),
        ("UPDATE t SET a = (a + 1) WHERE (b = 2)", "UPDATE t SET a = a + 1 WHERE b = 2"),
        ("DELETE FROM t WHERE (a IN (1, 2))", "DELETE FROM t WHERE a IN (1)"),
        ("SELECT a.x FROM a JOIN b ON (a.x = b.x)", "SELECT a.x FROM a JOIN b ON a.x = b.x"),
        ("SELECT a FROM t WHERE NOT (a = 1)", "SELECT a FROM t WHERE NOT a = 1"),
        ("SELECT a FROM t WHERE NOT ((a = 1) AND (b = 2))", "SELECT a FROM t WHERE NOT (b = 2 AND a = 1)"),
        ("SELECT a FROM t GROUP BY a HAVING (count(*) > 1)", "SELECT a FROM t GROUP BY a HAVING count(*) > 1"),
        ("SELECT CASE WHEN (a = 1) THEN (b + 1) END FROM t", "SELECT CASE WHEN a = 1 THEN b + 1 END FROM t"),
        ("SELECT a + (b * c) FROM t", "SELECT a + b * c FROM t"),
        ("SELECT (a + b) + c FROM t", "SELECT a + b + c FROM t"),
        ("SELECT a FROM t ORDER BY (a + b)", "SELECT a FROM t ORDER BY a + b"),
        ("(SELECT a FROM t)", "SELECT a FROM t"),
        ("SELECT * FROM t WHERE a IN ((SELECT b FROM u))", "SELECT * FROM t WHERE a IN (SELECT b FROM u)"),
        ("(SELECT a FROM t) UNION ((SELECT a FROM u))", "SELECT a FROM t UNION SELECT a FROM u"),
    ];
    for (a, b) in pairs {
        assert!(analysed(a, Dialect::Postgresql).parsed && analysed(b, Dialect::Postgresql).parsed, "{a}");
        assert_eq!(family(a), family(b), "{a} | {b}");
    }
}

#[test]
fn what_with_calls_a_query_means_nothing() {
    let same = [
        ("WITH q AS (SELECT a FROM t) SELECT * FROM q", "WITH z AS (SELECT a FROM t) SELECT * FROM z"),
        (
            "WITH q AS (SELECT a FROM t) SELECT q.a FROM q JOIN u ON u.a = q.a",
            "WITH z AS (SELECT a FROM t) SELECT k.a FROM z k JOIN u ON k.a = u.a",
        ),
        (
            "WITH p AS (SELECT a FROM t), q AS (SELECT a FROM p) SELECT * FROM q, p",
            "WITH x AS (SELECT a FROM t), y AS (SELECT a FROM x) SELECT * FROM y, x",
        ),
        (
            "WITH RECURSIVE q AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM q) SELECT n FROM q",
            "WITH RECURSIVE z AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM z) SELECT n FROM z",
        ),
        (
            "WITH q AS (DELETE FROM t RETURNING id) INSERT INTO log (id) SELECT id FROM q",
            "WITH gone AS (DELETE FROM t RETURNING id) INSERT INTO log (id) SELECT id FROM gone",
        ),
        (
            "SELECT * FROM u WHERE a IN (WITH q AS (SELECT a FROM t) SELECT a FROM q)",
            "SELECT * FROM u WHERE a IN (WITH z AS (SELECT a FROM t) SELECT a FROM z)",
        ),
    ];
    let other = [
        // Without RECURSIVE a definition sees the table of its name, not itself.
        ("WITH users AS (SELECT a FROM users) SELECT * FROM users", "WITH orders AS (SELECT a FROM orders) SELECT * FROM orders"),
        (
            "WITH q AS (SELECT a FROM t), t AS (SELECT a FROM u) SELECT * FROM q",
            "WITH q AS (SELECT a FROM z), z AS (SELECT a FROM u) SELECT * FROM q",
        ),
        (
            "WITH p AS (SELECT a FROM t), q AS (SELECT a FROM u) SELECT * FROM p",
            "WITH p AS (SELECT a FROM t), q AS (SELECT a FROM u) SELECT * FROM q",
        ),
        ("WITH q AS (SELECT a FROM t) SELECT * FROM q", "WITH q AS (SELECT a FROM t) SELECT * FROM s.q"),
        ("WITH q (x, y) AS (SELECT a, b FROM t) SELECT x FROM q", "WITH q (x, y) AS (SELECT b, a FROM t) SELECT x FROM q"),
    ];
    for (a, b) in same {
        assert!(analysed(a, Dialect::Postgresql).parsed, "{a}");
        assert_eq!(family(a), family(b), "{a} | {b}");
    }
    for (a, b) in other {
        assert!(analysed(a, Dialect::Postgresql).parsed, "{a}");
        assert_ne!(family(a), family(b), "{a} | {b}");
    }
}

#[test]
fn a_column_that_is_told_by_its_place_keeps_it() {
    let other = [
        ("INSERT INTO t (a, b) SELECT x, y FROM s", "INSERT INTO t (a, b) SELECT y, x FROM s"),
        ("INSERT INTO t SELECT x, y FROM s", "INSERT INTO t SELECT y, x FROM s"),
        ("INSERT INTO t (a, b) SELECT * FROM s", "INSERT INTO t (b, a) SELECT * FROM s"),
        ("INSERT INTO t (a, b) SELECT x, y FROM s UNION SELECT 1, 2", "INSERT INTO t (a, b) SELECT y, x FROM s UNION SELECT 1, 2"),
        ("INSERT INTO t (a, b) VALUES (1, now())", "INSERT INTO t (b, a) VALUES (1, now())"),
        ("INSERT INTO t (a, b) VALUES (1, now())", "INSERT INTO t (a, b) VALUES (now(), 1)"),
        ("INSERT INTO t (a, b, c) VALUES (1, 2, now())", "INSERT INTO t (b, c, a) VALUES (1, 2, now())"),
        ("INSERT INTO t VALUES (1, now())", "INSERT INTO t VALUES (now(), 1)"),
        ("SELECT * FROM a WHERE (x, w) IN (SELECT y, z FROM b)", "SELECT * FROM a WHERE (x, w) IN (SELECT z, y FROM b)"),
        ("SELECT * FROM a WHERE (x, w) = (SELECT y, z FROM b)", "SELECT * FROM a WHERE (x, w) = (SELECT z, y FROM b)"),
        ("SELECT * FROM a WHERE (x, w) = ANY (SELECT y, z FROM b)", "SELECT * FROM a WHERE (x, w) = ANY (SELECT z, y FROM b)"),
        ("(SELECT a, b FROM t LIMIT 1) UNION ALL SELECT c, d FROM u", "(SELECT b, a FROM t LIMIT 1) UNION ALL SELECT c, d FROM u"),
        ("SELECT * FROM (SELECT a, b FROM t) AS s (x, y) WHERE x = 1", "SELECT * FROM (SELECT b, a FROM t) AS s (x, y) WHERE x = 1"),
    ];
    let same = [
        ("INSERT INTO t (a, b) SELECT x, y FROM s", "INSERT INTO t (b, a) SELECT y, x FROM s"),
        ("INSERT INTO t (a, b) SELECT x AS k, y FROM s ORDER BY k", "INSERT INTO t (a, b) SELECT x, y FROM s ORDER BY x"),
        ("INSERT INTO t (a, b) VALUES (1, now())", "INSERT INTO t (b, a) VALUES (now(), 2)"),
        ("INSERT INTO t (a, b) VALUES (1, 2)", "INSERT INTO t (b, a) VALUES (3, 4), (5, 6)"),
        ("SELECT * FROM a WHERE EXISTS (SELECT y, z FROM b)", "SELECT * FROM a WHERE EXISTS (SELECT z, y FROM b)"),
        ("SELECT * FROM a WHERE x IN (SELECT y AS k FROM b)", "SELECT * FROM a WHERE x IN (SELECT y FROM b)"),
    ];
    for (a, b) in other {
        assert!(analysed(a, Dialect::Postgresql).parsed, "{a}");
        assert_ne!(family(a), family(b), "{a} | {b}");
    }
    for (a, b) in same {
        assert!(analysed(a, Dialect::Postgresql).parsed, "{a}");
        assert_eq!(family(a), family(b), "{a} | {b}");
    }
}

#[test]
fn two_ampersands_are_and_in_mysql_alone() {
    let families = |dialect| {
        ["x = 1 && y = 2", "y = 2 && x = 1", "x = 1 AND y = 2"]
            .map(|condition| analysed(&format!("SELECT a FROM t WHERE {condition}"), dialect).family)
    };
    let [a, b, c] = families(Dialect::Mysql);
    assert!(a == b && b == c);
    let overlap = |condition: &str| family(&format!("SELECT a FROM t WHERE {condition}"));
    assert_ne!(overlap("x && y"), overlap("x AND y"));
}
