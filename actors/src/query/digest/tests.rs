use super::*;
use crate::query::QueryConfig;
use proptest::prelude::*;

fn options() -> DigestOptions {
    DigestOptions { shapes_max: 100, statement_max_bytes: 4_096, slow_us: 100_000, many_rows: 1_000 }
}

/// Each in one piece.
fn digest(format: LogFormat, text: &str) -> DigestReport {
    pieces(format, &[text.as_bytes()])
}

fn pieces(format: LogFormat, blocks: &[&[u8]]) -> DigestReport {
    let (mut seams, mut whole) = (Seams::new(100_000), Digest::new(format, options()));
    // Blocks are read by two readers, and their seams come in any order.
    let mut readers = [Digest::new(format, options()), Digest::new(format, options())];
    let mut told: Vec<(u64, Seam)> = (0..).zip(blocks).map(|(n, block)| (n, readers[n as usize % 2].block(block))).collect();
    told.reverse();
    for (number, seam) in told {
        seams.take(number, seam);
    }
    for reader in readers {
        whole.merge(reader);
    }
    seams.finish(&mut whole);
    whole.report("log", &QueryConfig::default())
}

fn rows(report: &DigestReport) -> Vec<(u64, u64, f64, &str)> {
    report.queries.iter().map(|query| (query.row.calls, query.row.errors, query.row.total_ms, query.row.statement.as_str())).collect()
}

const STDERR: &str = "\
2026-11-25 16:33:03.925 UTC [25453] LOG:  listening on Unix socket \"/tmp/.s.PGSQL.5432\"
2026-11-25 16:33:08.096 UTC [25594] ann@shop LOG:  duration: 28.405 ms  statement: select *
\tfrom users
\twhere email = 'canary'
\t  and country like 'LOG:  duration: 1 ms  statement: x';
2026-11-25 16:33:08.097 UTC [25594] ann@shop ERROR:  duplicate key value violates unique constraint \"users_pkey\"
2026-11-25 16:33:08.097 UTC [25594] ann@shop DETAIL:  Key (id)=(1) already exists.
2026-11-25 16:33:08.097 UTC [25594] ann@shop STATEMENT:  insert into users(id, email) values (1, 'canary');
2026-11-25 16:33:08.098 UTC [25595] ann@shop LOG:  duration: 0.100 ms  parse <unnamed>: select id from users where id = $1
2026-11-25 16:33:08.098 UTC [25595] ann@shop LOG:  duration: 0.050 ms  bind <unnamed>: select id from users where id = $1
2026-11-25 16:33:08.098 UTC [25595] ann@shop DETAIL:  parameters: $1 = 'canary'
2026-11-25 16:33:08.098 UTC [25595] ann@shop LOG:  duration: 1.5 ms  execute <unnamed>: select id from users where id = $1
2026-11-25 16:33:08.098 UTC [25595] ann@shop DETAIL:  parameters: $1 = 'canary'
2026-11-25 16:33:08.099 UTC [25595] ann@shop LOG:  duration: 2.5 ms  execute fetch from S_1/C_2: select id from users where id = $1
2026-11-25 16:33:08.100 UTC [25596] ann@shop LOG:  statement: select count(*) from orders where note = 'canary';
2026-11-25 16:33:08.100 UTC [25597] ann@shop LOG:  statement: select 1 / 0;
2026-11-25 16:33:08.187 UTC [25596] ann@shop LOG:  duration: 88.947 ms
2026-11-25 16:33:08.188 UTC [25597] ann@shop ERROR:  division by zero
2026-11-25 16:33:08.188 UTC [25597] ann@shop STATEMENT:  select 1 / 0;
2026-11-25 16:33:08.190 UTC [25599] ann@shop LOG:  statement: select never_done()
2026-11-25 16:33:08.200 UTC [25594] ann@shop LOG:  duration: 7.000 ms  plan:
\tQuery Text: select 7 from users
\tSeq Scan on users  (cost=0.00..1.00 rows=1 width=4)
";

fn expected() -> Vec<(u64, u64, f64, &'static str)> {
    vec![
        (1, 0, 88.947, "select count(*) from orders where note = ?"),
        (1, 0, 28.405, "select * from users where email = ? and country like ?"),
        (2, 0, 4.0, "select id from users where id = ?"),
        (0, 1, 0.0, "insert into users(id, email) values (?)"),
        (0, 1, 0.0, "select ? / ?"),
        (0, 0, 0.0, "select never_done()"),
    ]
}

#[test]
fn a_text_log_gives_executions_errors_and_pairs() {
    let report = digest(LogFormat::PostgresqlStderr, STDERR);
    let mut found = rows(&report);
    found.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.3.cmp(b.3)));
    let mut wanted = expected();
    wanted.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.3.cmp(b.3)));
    assert_eq!(found, wanted);
    let Totals { calls, errors, untimed, nameless, prepared, prepared_ms, plans, broken, from_ms, until_ms, .. } = report.totals;
    assert_eq!((calls, errors, untimed, nameless, prepared, plans, broken), (4, 2, 1, 0, 2, 1, 0));
    assert_eq!((prepared_ms, from_ms, until_ms), (0.15, 1_795_624_388_096, 1_795_624_388_190));
    assert!(!serde_json::to_string(&report).unwrap().contains("canary"));
}

#[test]
fn a_log_of_syslog_is_put_together_again() {
    let text = "\
Nov 25 16:33:08 db postgres[77]: [5-1] 2026-11-25 16:33:08 UTC [77] LOG:  duration: 3.000 ms  statement: select a
Nov 25 16:33:08 db postgres[77]: [5-2] #011from t
Nov 25 16:33:08 db postgres[77]: [5-3] #011where b = 'canary'
";
    assert_eq!(rows(&digest(LogFormat::PostgresqlStderr, text)), [(1, 0, 3.0, "select a from t where b = ?")]);
}

#[test]
fn prefixes_are_of_anybodys_choice() {
    for prefix in [
        "",
        "< 2026-11-25 16:33:08.096 CET >",
        "2026-11-25 16:33:08 UTC:10.0.0.1(3456):ann@shop:[25594]:",
        "1795624388.096 [25594] app=web: x ",
        "user=ann,db=shop,app=[unknown],client=::1 ",
    ] {
        let text = format!("{prefix}LOG:  duration: 1234.567 ms  statement: select 1 from t\n");
        assert_eq!(LogFormat::detect(text.as_bytes()), Some(LogFormat::PostgresqlStderr), "{prefix}");
        assert_eq!(rows(&digest(LogFormat::PostgresqlStderr, &text)), [(1, 0, 1_234.567, "select ? from t")], "{prefix}");
    }
}

#[test]
fn csv_and_json_say_the_same() {
    let csv = "\
2026-11-25 16:33:08.096 UTC,\"ann\",\"shop\",25594,\"127.0.0.1:1\",6b07.1,1,\"SELECT\",2026-11-25 16:33:00 UTC,3/4,0,LOG,00000,\"duration: 28.405 ms  statement: select *
from \"\"Users\"\", t
where email = 'can,ary'\",,,,,,,,,\"psql\",\"client backend\",,0
2026-11-25 16:33:08.097 UTC,\"ann\",\"shop\",25594,\"127.0.0.1:1\",6b07.1,2,\"SELECT\",2026-11-25 16:33:00 UTC,3/4,0,ERROR,42703,\"column \"\"nope\"\" does not exist\",,,,,,\"select nope from t where a = 'canary'\",8,,\"psql\",\"client backend\",,0
";
    let json = concat!(
        r#"{"timestamp":"2026-11-25 16:33:08.096 UTC","user":"ann","pid":25594,"error_severity":"LOG","message":"duration: 28.405 ms  statement: select *\nfrom \"Users\", t\nwhere email = 'canary'"}"#,
        "\n",
        r#"{"timestamp":"2026-11-25 16:33:08.097 UTC","user":"ann","pid":25594,"error_severity":"ERROR","state_code":"42703","message":"column \"nope\" does not exist","statement":"select nope from t where a = 'canary'"}"#,
        "\n"
    );
    for (format, text) in [(LogFormat::PostgresqlCsv, csv), (LogFormat::PostgresqlJson, json)] {
        assert_eq!(LogFormat::detect(text.as_bytes()), Some(format));
        let report = digest(format, text);
        let wanted = [(1, 0, 28.405, "select * from \"Users\", t where email = ?"), (0, 1, 0.0, "select nope from t where a = ?")];
        assert_eq!(rows(&report), wanted, "{format:?}");
        assert_eq!((report.totals.from_ms, report.totals.broken), (1_795_624_388_096, 0));
    }
}

const MYSQL: &str = "\
/usr/sbin/mysqld, Version: 8.0.36 (MySQL Community Server - GPL). started with:
Tcp port: 3306  Unix socket: /var/run/mysqld/mysqld.sock
Time                 Id Command    Argument
# Time: 2026-11-25T16:33:45.123456Z
# User@Host: root[root] @ localhost []  Id:     8
# Query_time: 0.211644  Lock_time: 0.000851 Rows_sent: 3  Rows_examined: 5000
use shop;
SET timestamp=1795624425;
select count(*)
 # a comment, canary
# Time: is not a head
 from t where n = 'canary';
# User@Host: root[root] @ localhost []  Id:     8
# Schema: Errno: 1  Last_errno: 1062  Killed: 0
# Query_time: 1.5  Lock_time: 0.0  Rows_sent: 0  Rows_examined: 1  Rows_affected: 0
# Pages_accessed: 14722  Pages_read: 0
#
# explain: id	select_type	table	type
#
SET last_insert_id=7,insert_id=8,timestamp=1795624426;
INSERT INTO t (id) VALUES (1), (2);
# Time: 261125 16:33:47
# User@Host: root[root] @ localhost []
# Query_time: 0.000050  Lock_time: 0.000000  Rows_sent: 0  Rows_examined: 0
# administrator command: Quit;
# User@Host: root[root] @ localhost []
# Query_time: 0.000060  Lock_time: 0.000000  Rows_sent: 1  Rows_examined: 0
SET timestamp=1795624427;
SELECT 7;
";

#[test]
fn a_slow_log_gives_times_rows_locks_and_errors() {
    let report = digest(LogFormat::MysqlSlow, MYSQL);
    assert_eq!(LogFormat::detect(MYSQL.as_bytes()), Some(LogFormat::MysqlSlow));
    assert_eq!(
        rows(&report),
        [
            (1, 1, 1_500.0, "insert into t(id) values (?)"),
            (1, 0, 211.644, "select count(*) from t where n = ?"),
            (1, 0, 0.06, "select ?"),
            (1, 0, 0.05, "administrator command: quit"),
        ]
    );
    let count = &report.queries[1];
    assert_eq!((count.rows_examined, count.lock_ms, count.row.rows, count.slowest_at_ms), (5_000, 0.851, 3, 1_795_624_425_123));
    assert_eq!((report.totals.from_ms, report.totals.until_ms, report.totals.broken), (1_795_624_425_123, 1_795_624_427_000, 0));
    assert!(!serde_json::to_string(&report).unwrap().contains("canary"));
}

#[test]
fn what_is_no_log_is_none() {
    for text in ["", "hello\nworld\n", "{\"kind\":\"query\"}\n", "a,b,c\n1,2,3\n", "\u{0}\u{1}"] {
        assert_eq!(LogFormat::detect(text.as_bytes()), None, "{text:?}");
    }
}

#[test]
fn more_statements_than_there_is_room_for_are_counted_together() {
    let line = |n: usize| format!("LOG:  duration: 1.000 ms  statement: select a from t{}\n", "x".repeat(n));
    let text: String = (0..150).map(line).collect();
    let report = digest(LogFormat::PostgresqlStderr, &text);
    assert_eq!((report.totals.calls, report.totals.shapes, report.totals.other_calls), (150, 100, 50));
    assert_eq!(report.queries.iter().map(|query| query.row.calls).sum::<u64>(), 150);
}

#[test]
fn numbers_are_digits_with_at_most_one_dot() {
    use super::message::fixed;
    let read = |text: &str| fixed(text.as_bytes(), 3);
    for (text, wanted) in [("0.002", 2), ("7", 7_000), ("7.", 7_000), ("7.5", 7_500), ("12.3456", 12_345), ("0.00", 0)] {
        assert_eq!(read(text), Some(wanted), "{text}");
    }
    for text in ["", ".5", "-1", "1e3", "1.5x", "1.2345x", "1.2.3", "1.23.4", "12345678901234567890", "9999999999999999999"] {
        assert_eq!(read(text), None, "{text}");
    }
    assert_eq!(fixed(b"3.000017", 6), Some(3_000_017));
}

#[test]
fn times_with_offsets_are_instants_and_impossible_ones_are_none() {
    for (text, ms) in [
        ("2026-11-25 16:33:08.096 UTC", 1_795_624_388_096),
        ("2026-11-25 18:33:08+02", 1_795_624_388_000),
        ("2026-11-25T11:03:08.096789-05:30", 1_795_624_388_096),
        ("1970-01-01 00:00:00", 0),
        ("2026-13-25 16:33:08", 0),
        ("0000-00-00 00:00:00", 0),
        ("no time", 0),
    ] {
        assert_eq!(message::time(text), ms, "{text}");
    }
}

/// Cuts a log wherever the format allows it.
fn cut_everywhere(format: LogFormat, text: &str, size: usize) -> Vec<Vec<u8>> {
    let (mut blocks, mut rest) = (Vec::new(), text.as_bytes());
    let mut wanted = size;
    while wanted < rest.len() {
        match format.last_entry(&rest[..wanted]) {
            Some(at) => {
                blocks.push(rest[..at].to_vec());
                rest = &rest[at..];
                wanted = size;
            }
            None => wanted += size,
        }
    }
    blocks.push(rest.to_vec());
    blocks
}

#[test]
fn rows_do_not_depend_on_how_a_log_is_cut() {
    for (format, text) in [(LogFormat::PostgresqlStderr, STDERR.repeat(3)), (LogFormat::MysqlSlow, MYSQL.repeat(3))] {
        let whole = digest(format, &text);
        for size in 1..700 {
            let blocks = cut_everywhere(format, &text, size);
            assert_eq!(blocks.concat(), text.as_bytes());
            let blocks: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
            let mut found = pieces(format, &blocks);
            // Times of statements that stand apart from their durations are not followed over a seam.
            for (found, whole) in found.queries.iter_mut().zip(&whole.queries) {
                found.slowest_at_ms = whole.slowest_at_ms;
            }
            assert_eq!(found, whole, "{format:?} in blocks of {size}");
        }
    }
}

proptest! {
    #[test]
    fn no_text_harms(text in "\\PC{0,400}", pieces_of in prop::collection::vec(prop::sample::select(vec![
        "LOG:  duration: ", "1.5 ms", "  statement: ", "execute x: ", "ERROR:  ", "STATEMENT:  ", "\n", "\t", "\"", ",", "'", "# Time: 2", "# User@Host: ",
        "# Query_time: ", "Rows_sent: ", "SET timestamp=", ";", "{", "}", "\"message\":", "[1]", "]: [1-2] #011",
    ]), 0..60)) {
        let text = format!("{text}{}", pieces_of.concat());
        for format in [LogFormat::PostgresqlStderr, LogFormat::PostgresqlCsv, LogFormat::PostgresqlJson, LogFormat::MysqlSlow] {
            if let Some(at) = format.last_entry(text.as_bytes()) {
                prop_assert!(at > 0 && at <= text.len());
            }
            digest(format, &text);
        }
        let _ = LogFormat::detect(text.as_bytes());
    }
}
